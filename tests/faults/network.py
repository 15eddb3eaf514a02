"""Two machines with a wire between them, as network namespaces: traffic stays inside, and the wire can be cut."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_namespaces = [
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (Debian package iproute2)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
]
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_WIRE = "wire"


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    address: str

    @property
    def under(self) -> list[str]:
        """To put before a command that is to run on this machine."""
        return ["ip", "netns", "exec", self.name]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens in the block are this machine's, and stay so."""
        with Path("/proc/thread-self/ns/net").open() as before, Path("/run/netns", self.name).open() as here:
            _enter(here.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def unplug(self) -> None:
        """From now on nothing comes or goes, and no connection is told."""
        _ip("-n", self.name, "link", "set", _WIRE, "down")

    def plug_in(self) -> None:
        _ip("-n", self.name, "link", "set", _WIRE, "up")


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    names = [f"crowdstack-{os.getpid()}-{letter}" for letter in "ab"]
    machines = [Machine(name, f"10.203.77.{number}") for number, name in enumerate(names, 1)]
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            _ip("link", "add", _WIRE, "netns", names[0], "type", "veth", "peer", "name", _WIRE, "netns", names[1])
        except subprocess.CalledProcessError as fault:
            pytest.skip(f"needs the right to make network namespaces: {fault.stderr}")
        for machine in machines:
            _ip("-n", machine.name, "address", "add", f"{machine.address}/30", "dev", _WIRE)
            _ip("-n", machine.name, "link", "set", "lo", "up")
            machine.plug_in()
        yield machines[0], machines[1]
    finally:
        for name in names:
            if Path("/run/netns", name).exists():
                _ip("netns", "delete", name)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
