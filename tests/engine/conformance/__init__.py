"""The same small programs on both engines, Pulumi's own and the embedded one: every difference is a fault or has its reason.

`programs` -> `moves` (what is done to a stack) -> `ours`, `real` (who does it) -> `outcome` (what is compared); `suite` joins them,
and each group of programs has a test module, so that they run side by side.
"""
