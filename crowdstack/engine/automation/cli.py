"""The Pulumi CLI: where it is, what its processes may see, and one run of it. Arguments -> its output and events.

The Automation API's own `PulumiCommand.run` hands the whole environment to the CLI and puts it in our terminal's process
group; this one does neither (docs/decisions/0005). Installing and the inline program are the API's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crowdstack import process
from crowdstack.errors import Refused
from crowdstack.folder import write_private
from crowdstack.process import ProcessId

MINIMUM = (3, 192, 0)  # what the tests run; older ones write no diagnostics that can be told apart
INSTALL = "crowdstack engine install, or put `pulumi` on PATH"

# What a backend or a key service needs of our environment, by the scheme of its URL; nothing else is passed on (threats E4).
_CREDENTIALS: Mapping[str, tuple[str, ...]] = {
    "https": ("PULUMI_ACCESS_TOKEN",),
    "http": ("PULUMI_ACCESS_TOKEN",),
    "s3": ("AWS_",),
    "awskms": ("AWS_",),
    "azblob": ("AZURE_", "ARM_"),
    "azurekeyvault": ("AZURE_", "ARM_"),
    "gs": ("GOOGLE_",),
    "gcpkms": ("GOOGLE_",),
    "hashivault": ("VAULT_",),
}
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")
_GRACE_S = 3.0  # after Ctrl-C the CLI writes its state down within this

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]


class CliFailed(Exception):
    """The CLI ended with an error: what it said. Its exit code means nothing (255 for most)."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told


def find_cli(environment: Mapping[str, str] = os.environ) -> Path:
    """The CLI on PATH, else the newest that was installed by the Automation API. Refused when there is none."""
    if found := shutil.which("pulumi", path=environment.get("PATH")):
        return Path(found)
    installed = Path(environment.get("HOME") or Path.home()) / ".pulumi" / "versions"
    found_there = [path for path in installed.glob("*/bin/pulumi") if os.access(path, os.X_OK)]
    if found_there:
        return max(found_there, key=lambda path: _numbers(path.parts[-3]))
    raise Refused("the Pulumi CLI is not installed", why="the engine `pulumi` runs it", hint=INSTALL)


def check_version(cli: Path) -> str:
    """Refused for a CLI that is older than MINIMUM, or none."""
    try:
        done = subprocess.run(
            [cli, "version"], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
        told = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise Refused("the Pulumi CLI cannot be run", where=str(cli), why=str(fault), hint=INSTALL) from fault
    if not re.match(r"v?\d+\.\d+", told):
        raise Refused("this is no Pulumi CLI", where=str(cli), why=f"its version is {told!r}", hint=INSTALL)
    if _numbers(told) < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise Refused(
            f"the Pulumi CLI is {told}, which is too old", where=str(cli), why=f"{wanted} or newer", hint=INSTALL
        )
    return told


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def plugin_folder(package: str, beside: Path | None = None) -> Path:
    """Where the plugin of this package is: beside our own commands, or on PATH. Refused when it is not there; the CLI
    would look for it on the network."""
    name = f"pulumi-resource-{package}"
    beside = beside or Path(sysconfig.get_path("scripts"))
    found = beside / name if os.access(beside / name, os.X_OK) else shutil.which(name)
    if found is None:
        raise Refused(
            f"the plugin {name} is missing",
            where=str(beside),
            hint="install crowdstack again with pip, which puts it there",
        )
    return Path(found).parent


def _environment(*schemes: str) -> dict[str, str]:
    told = process.child_environment()
    prefixes = tuple(prefix for scheme in schemes for prefix in _CREDENTIALS.get(scheme, ()))
    passed = [name for name in os.environ if prefixes and name.startswith(prefixes)]
    for name in (*_NETWORK, *passed):
        if name in os.environ:
            told[name] = os.environ[name]
    # As the Automation API sets them; the second makes the CLI know `--event-log`.
    return {
        **told,
        "PULUMI_AUTOMATION_API": "true",
        "PULUMI_DEBUG_COMMANDS": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


# ---------------------------------------------------------------------------------------------------- one run


@dataclass(frozen=True, kw_only=True)
class Cli:
    """The CLI with one backend and one way to keep secrets.

    note: where a run that changes things says who it is, for `end_orphan`.
    """

    path: Path
    backend: str  # URL
    secrets: str  # "passphrase", or the URL of a key service
    passphrase: Path
    plugins: Path  # folder of our plugin's executable
    more: Mapping[str, str] = field(default_factory=dict)  # for the plugin

    def run(self, *arguments: str, folder: Path, note: Path | None = None) -> str:
        """One command in `folder`, to its end: what it printed. CliFailed with what it complained of."""
        with self._started(arguments, folder, note) as child:
            printed, complained = child.communicate()
        _check(child, complained or printed)
        return printed

    def operate(self, *arguments: str, folder: Path, on_event: OnEvent, note: Path | None = None) -> None:
        """One operation on a stack; `on_event` is called from another thread, in order, and for the last time before this
        returns. Killed or interrupted, what it did by then is in the state."""
        pipe = folder / "events"
        os.mkfifo(pipe, 0o600)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(pipe, os.O_WRONLY)  # ours: so the reader's end comes when we say so, not with the CLI's
        os.set_blocking(reading, True)
        faults: list[BaseException] = []
        with self._started([*arguments, "--event-log", str(pipe)], folder, note) as child:

            def follow() -> None:
                with open(reading, encoding="utf-8", errors="replace") as lines:
                    for event in _events(lines):
                        try:
                            if not faults:
                                on_event(event)
                        except BaseException as fault:  # whoever listens wants no more: as if interrupted
                            faults.append(fault)
                            child.send_signal(signal.SIGINT)
                            killing.start()

            killing = threading.Timer(_GRACE_S, child.kill)
            follower = threading.Thread(target=follow, name="events of the Pulumi CLI", daemon=True)
            follower.start()
            try:
                _, complained = child.communicate()
            finally:
                os.close(writing)
                if child.poll() is None:
                    _end(child)
                follower.join()
                killing.cancel()
                pipe.unlink()
        if faults:
            raise faults[0]
        _check(child, complained)

    @contextmanager
    def _started(self, arguments: Sequence[str], folder: Path, note: Path | None) -> Iterator[subprocess.Popen[str]]:
        """The running CLI, in a session of its own: Ctrl-C at our terminal is ours to hand on. Ended when the block is."""
        child = subprocess.Popen(
            [self.path, "--non-interactive", "--color", "never", *arguments],
            cwd=folder,
            env=self._child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            identity = process.identify(child.pid)
            if note is not None and identity is not None:
                write_private(note, json.dumps(identity.to_json()).encode())
            yield child
        finally:
            if child.poll() is None:
                _end(child)
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
            if note is not None:
                note.unlink(missing_ok=True)

    def _child_environment(self) -> dict[str, str]:
        told = _environment(urlsplit(self.backend).scheme, urlsplit(self.secrets).scheme)
        path = [str(self.plugins), str(self.path.parent), told.get("PATH", "")]
        told |= {"PATH": os.pathsep.join(path), "PULUMI_BACKEND_URL": self.backend, **self.more}
        if self.secrets == "passphrase":
            told["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self.passphrase)
        return told


def end_orphan(note: Path) -> None:
    """End the CLI of a command that was killed. Only called under the stack's lock: whoever started it is gone."""
    try:
        found = ProcessId.from_json(json.loads(note.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    for number in (signal.SIGINT, signal.SIGKILL):
        if not process.send_signal(found, number) or process.wait_gone(found, _GRACE_S):
            break
    note.unlink(missing_ok=True)


def _check(child: subprocess.Popen[str], complained: str) -> None:
    if child.returncode < 0:
        raise CliFailed(f"it was ended by {signal.Signals(-child.returncode).name}")
    if child.returncode != 0:
        raise CliFailed(complained.strip())


def _end(child: subprocess.Popen[str]) -> None:
    """Let it write its state down and end; kill it when it does not."""
    child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def _events(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the CLI was killed in the middle of it
            continue
        if isinstance(event, dict):
            yield event


# ---------------------------------------------------------------------------------------------------- installing


def install() -> str:
    """Install the CLI that belongs to the SDK, unless it is there; its path. Refused when it cannot be fetched."""
    from pulumi.automation import PulumiCommand

    try:
        return PulumiCommand.install().command
    except subprocess.CalledProcessError as fault:
        told = (fault.output or b"").decode(errors="replace").strip().splitlines()
        why = told[-1] if told else str(fault)
        raise Refused("the Pulumi CLI could not be installed", why=why, hint=_OFFLINE) from fault
    except OSError as fault:
        raise Refused("the Pulumi CLI could not be fetched", why=str(fault), hint=_OFFLINE) from fault


_OFFLINE = "look at the network and try again; or get the CLI in your own way and put `pulumi` on PATH"
