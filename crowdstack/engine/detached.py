"""Task servers as processes of their own: started, found again, told of new settings, stopped.

Who runs is told by a kernel lock, `server.lock` of the run's folder: the launcher takes it, the server inherits it and
holds it until it dies. So there are never two servers of a run, however a launcher was cut off. That it is the right
one, with the settings that were asked for, is proven by `/healthz`.
"""

from __future__ import annotations

import fcntl
import hmac
import http.client
import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdstack import process, tokens
from crowdstack.engine.launcher import Running, choose_port, reachable, read_config, run_folder
from crowdstack.errors import Refused, TimedOut
from crowdstack.folder import Folder, RunFolder, open_private, private_folder, read_bytes, sync_folder, write_private
from crowdstack.process import ProcessId
from crowdstack.wire.configs import ServerConfig

_PROOF_S = 3.0  # a server that is alive answers within this
_LOG_TAIL = 2000


class DetachedLauncher:
    """Servers as processes of their own, which outlive the command that started them."""

    def __init__(self, folder: Folder, *, start_s: float = 20.0, adopt_s: float = 10.0, grace_s: float = 10.0) -> None:
        self._folder = folder
        self._start_s, self._adopt_s, self._grace_s = start_s, adopt_s, grace_s

    def choose_port(self, run: str, host: str, wanted: int) -> int:
        return choose_port(run_folder(self._folder, run), host, wanted)

    def ensure(self, config: ServerConfig) -> Running:
        run = run_folder(self._folder, config.run)
        private_folder(run.root)
        raw = config.to_bytes()
        if read_bytes(run.server_config) != raw:
            write_private(run.server_config, raw)
        digest = tokens.config_digest(raw)
        there = self._adopt(run, config, digest)
        if there is None:
            self._end(run)  # whatever runs there does not come to these settings
            there = self._start(run, config, digest)
        return Running(process=there, config=digest)

    def find(self, run: str, config: str) -> Running | None:
        folder = run_folder(self._folder, run)
        there, settings = _process(folder), read_config(folder)
        if there is None or settings is None:
            return None
        written = tokens.config_digest(settings.to_bytes())
        if prove(settings, written):
            return Running(process=there, config=written)
        # Settings were written that the server was not told of: it lives, and what it goes by is not settled.
        return Running(process=there, config=None) if written != config and prove(settings, config) else None

    def stop(self, run: str) -> None:
        folder = run_folder(self._folder, run)
        if not folder.root.exists():
            return
        self._end(folder)
        for path in (folder.server_config, folder.server_process, _lock_path(folder)):
            path.unlink(missing_ok=True)
        sync_folder(folder.root)

    def _adopt(self, run: RunFolder, config: ServerConfig, digest: str) -> ProcessId | None:
        """The server that runs already, once it goes by `config`; None if there is none or it does not come to that."""
        told = False
        for _ in process.polls(self._adopt_s):
            if not _runs(run):
                return None
            there = _process(run)
            if there is not None and prove(config, digest):
                return there
            if there is not None and not told:
                told = process.send_signal(there, signal.SIGHUP)
        return None

    def _start(self, run: RunFolder, config: ServerConfig, digest: str) -> ProcessId:
        with _lock(run) as lock:
            assert lock is not None, "nothing runs, and the engine's lock lets nobody else start it"
            run.server_process.unlink(missing_ok=True)
            arguments = ["-m", "crowdstack.server", "--run-folder", str(run.root), "--blobs", str(self._folder.blobs)]
            process.spawn_detached(arguments, log=run.server_log, folder=run.root, hold=(lock,))
        for _ in process.polls(self._start_s):
            there = _process(run)
            if there is not None and prove(config, digest):
                return there
            if not _runs(run):
                what = f"the task server of {config.run} ended at its start"
                raise Refused(what, where=str(run.server_log), why=_tail(run))
        raise TimedOut(
            f"the task server of {config.run} did not answer on {config.host}:{config.port} within {self._start_s:g} s",
            where=str(run.server_log),
            why=_tail(run),
            hint="look at its log; the same command tries again",
        )

    def _end(self, run: RunFolder) -> None:
        if not self._ended(run, signal.SIGTERM) and not self._ended(run, signal.SIGKILL):
            raise TimedOut("a task server does not end", where=str(run.root), why=_tail(run))

    def _ended(self, run: RunFolder, number: signal.Signals) -> bool:
        """Signal the server once it can be found, and wait until its lock is free; False when time is up."""
        told = False
        for _ in process.polls(self._grace_s):
            process.reap()
            if not _runs(run):
                return True
            there = _process(run)
            if there is not None and not told:
                told = process.send_signal(there, number)
        return False


def prove(config: ServerConfig, digest: str) -> bool:
    """Whether the server on this port holds the run's control key and goes by the settings of this digest."""
    nonce = secrets.token_urlsafe(24)
    connection = http.client.HTTPConnection(reachable(config.host), config.port, timeout=_PROOF_S)
    try:
        connection.request("GET", "/healthz", headers={"X-Crowdstack-Nonce": nonce})
        answer = connection.getresponse()
        answer.read(1024)
        proof = answer.getheader("X-Crowdstack-Proof") or ""
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    expected = tokens.health_proof(config.keys["control"], nonce=nonce, run=config.run, config=digest)
    return hmac.compare_digest(proof.encode(), expected.encode())


def _lock_path(run: RunFolder) -> Path:
    return run.root / "server.lock"


@contextmanager
def _lock(run: RunFolder) -> Iterator[int | None]:
    """The run's server lock as a descriptor, or None when a server holds it."""
    fd = open_private(_lock_path(run), os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield fd
    finally:
        os.close(fd)


def _runs(run: RunFolder) -> bool:
    with _lock(run) as lock:
        return lock is None


def _process(run: RunFolder) -> ProcessId | None:
    """Who the server says it is, if that process lives. A stranger with its pid is not it."""
    try:
        found = ProcessId.from_json(json.loads(read_bytes(run.server_process)))
    except (ValueError, KeyError, TypeError):
        return None
    return found if process.alive(found) else None


def _tail(run: RunFolder) -> str:
    """The end of the server's log, for an error message."""
    text = read_bytes(run.server_log).decode(errors="replace")
    return text[-_LOG_TAIL:].strip() or "its log is empty"
