"""Engines that make a stack so, and the plugin that holds our resource types.

`values -> secrets -> checkpoint -> deployment -> monitor -> embedded` is the embedded engine; `plugin`, `types`,
`launcher` (`detached`, `inside`) and `resources` are what our stacks are made of. Only `monitor` and `resources` import pulumi (0.2 s).
"""
