"""Engines that make a stack so, and the plugin that holds our resource types.

`plugin, types, launcher (detached, inside), resources` are what our stacks are made of: both engines ask them. `embedded` and
`automation` are the engines, which do not know each other; they share `urns`, `targets` and `deployments` (a state in Pulumi's
form). `chosen` knows which of them a stack belongs to, `passphrase, state_file -> stack_state` move it from one to the other.
`schema, plugin_server -> plugin_process` offers the plugin to Pulumi's CLI.
"""
