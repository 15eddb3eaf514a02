"""The command line: parse, call, print. Rules live elsewhere."""
