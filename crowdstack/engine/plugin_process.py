"""The plugin as a process: `serve` answers one engine and ends with it; `main` is `pulumi-resource-crowdstack`.

Pulumi starts the executable, reads the port from its first line, and kills it when it is done. An engine that is killed
itself does not, so the plugin watches who started it.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import stat
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from crowdstack import __version__
from crowdstack.engine.detached import DetachedLauncher
from crowdstack.engine.peer import is_ours
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.plugin_server import OpenPlugin, PluginServer
from crowdstack.engine.rpc import OPTIONS
from crowdstack.engine.types import crowdstack_plugin
from crowdstack.errors import Refused, UsageError
from crowdstack.folder import Folder, of_pulumi_project
from crowdstack.wire.stack import SPEC, STATE_VARIABLE

_POLL_S = 0.2  # where the system cannot say when a process ends


def serve(
    open_plugin: OpenPlugin, *, package: Plugin, version: str = __version__, settings: frozenset[str] = frozenset()
) -> None:
    """Answer the engine that started this process, on a port of the loopback interface, until it ends."""
    end_with(os.getppid())
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    servicer = PluginServer(
        open_plugin, package=package, version=version, settings=settings, trusts=lambda peer: is_ours(peer, port)
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    server.start()
    print(port, flush=True)
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:  # Pulumi's way of saying that it is done; whoever is at work meanwhile can be cut off
        os._exit(0)


def end_with(parent: int) -> None:
    """End this process at once when `parent`, which started it, does: what was begun is found by the next run."""
    threading.Thread(target=_end_with, args=(parent,), name="watches the engine", daemon=True).start()


def _end_with(parent: int) -> None:
    try:
        watched = os.pidfd_open(parent)
    except (AttributeError, OSError):  # no such call here, or it has ended already
        while os.getppid() == parent:
            threading.Event().wait(_POLL_S)
    else:
        if os.getppid() == parent:
            select.select([watched], [], [])
    os._exit(1)


# ---------------------------------------------------------------------------------------------------- ours


def state_folder(environment: Mapping[str, str], settings: Mapping[str, Any]) -> Folder:
    """The only folder that this process acts in. Refused unless it is ours and nobody else may read it.

    It comes from the environment, which whoever talks to the port cannot set (threats E1). Without that, for `pulumi up`
    by hand, it is the one beside the spec.
    """
    told, spec = environment.get(STATE_VARIABLE), settings.get(SPEC)
    if not told and not spec:
        raise UsageError(
            "the plugin does not know which folder it may act in",
            hint=f"pulumi config set crowdstack:{SPEC} my.yaml; or set {STATE_VARIABLE} to the state folder",
        )
    root = Path(told) if told else of_pulumi_project(str(spec), Path.cwd()).parent / ".crowdstack"
    # One that is not there yet is made by what needs it, private, in a folder that only we may change.
    looked_at, forbidden = (root, 0o077) if os.path.lexists(root) else (root.parent, 0o022)
    try:
        found = looked_at.lstat()
    except FileNotFoundError:
        raise Refused("there is no such state folder", where=str(root)) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & forbidden:
        raise Refused(
            "the plugin does not act in this folder",
            where=str(looked_at),
            why="it must be a plain folder of yours that nobody else can " + ("read" if forbidden & 0o44 else "change"),
        )
    return Folder(root)


def _ours(folder: Folder) -> Plugin:
    return crowdstack_plugin(folder, DetachedLauncher(folder))


def main() -> None:
    # Whatever the processes it starts write is the operator's alone, and no dump holds keys (threats L1, E4).
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if len(sys.argv) < 2:
        print("crowdstack's plugin for Pulumi: Pulumi starts it, with the address of its engine", file=sys.stderr)
        sys.exit(2)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    serve(
        lambda settings: _ours(state_folder(os.environ, settings)),
        package=_ours(Folder(Path("/nonexistent"))),
        settings=frozenset({SPEC}),
    )
