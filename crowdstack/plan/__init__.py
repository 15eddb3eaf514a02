"""What is wanted, what it costs, and what to do about the difference: pure rules, no I/O."""
