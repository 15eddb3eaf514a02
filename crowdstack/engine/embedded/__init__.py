"""The embedded engine: Pulumi programs made so in this process.

`state` (what a stack is made of), `names` (URNs, aliases), `paths` and `options` are pure rules, `snapshot` holds the entries of
a state. On them stand `checkpoint` (the state's file), `deployment` (the walk), `monitor` (what the SDK talks to) and `engine`.
"""
