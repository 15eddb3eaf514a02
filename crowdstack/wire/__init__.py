"""What crosses a process boundary: frames of both sockets and the files that start a process. Dataclasses <-> JSON."""
