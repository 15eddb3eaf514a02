"""The engine `pulumi`: stacks made by Pulumi's own CLI.

`cli` runs it, `inline` serves it our program, `events` tells what it does as steps, `faults` puts its complaints into our
words, `state` reads and settles what it keeps, `outputs` remembers what a stack came to. `engine` joins them.
"""
