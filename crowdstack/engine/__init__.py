"""Engines that make a stack so, and the plugin that holds our resource types.

`values -> secrets -> names -> checkpoint -> deployment -> monitor -> embedded` is the embedded engine; `snapshot` (entries of
the state), `paths` and `options` (pure rules), `faults` and `structs` (the wire) are what `deployment` and `monitor` are built of.
`plugin`, `types`, `launcher` (`detached`, `inside`) and `resources` are what our stacks are made of. `pulumi_cli, pulumi_events,
pulumi_faults, pulumi_state, outputs, inline -> automation` is the engine `pulumi`, and `schema, plugin_server -> plugin_process`
the plugin it calls. `chosen` knows which engine a stack belongs to, `passphrase, state_file -> stack_state` move it. Only
`monitor`, `structs`, `resources`, `inline` and the plugin's process import pulumi (0.2 s).
"""
