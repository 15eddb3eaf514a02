"""Engines that make a stack so, and the plugin that holds our resource types.

`values -> secrets -> names -> checkpoint -> deployment -> monitor -> embedded` is the embedded engine; `snapshot` (entries of
the state), `paths` and `options` (pure rules), `faults` and `structs` (the wire) are what `deployment` and `monitor` are built of.
`plugin`, `types`, `launcher` (`detached`, `inside`) and `resources` are what our stacks are made of. Only `monitor`, `structs` and
`resources` import pulumi (0.2 s).
"""
