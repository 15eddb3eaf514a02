"""Where everything of a project lies: `.crowdstack/` beside the spec. Paths, private folders and files, atomic files; no meaning.

Folders are 0700 and files 0600 whatever the umask says, and a link in their place is never followed (threats L1).
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crowdstack.errors import Refused


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's files: inbox, configuration, logs, crowd journals. Deleted by `destroy` once drained (logs stay)."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "inbox.db"

    @property
    def server_config(self) -> Path:
        return self.root / "server.json"

    @property
    def server_process(self) -> Path:
        """Written by the server once it listens: {pid, boot, start, port, nonce}."""
        return self.root / "server.process.json"

    @property
    def server_log(self) -> Path:
        return self.root / "server.log"

    @property
    def steps(self) -> Path:
        """Every step the engine did for this run, a JSON line each."""
        return self.root / "steps.jsonl"

    @property
    def loop_process(self) -> Path:
        return self.root / "reconcile.process.json"

    @property
    def loop_log(self) -> Path:
        return self.root / "reconcile.log"

    @property
    def led(self) -> bool:
        """A reconciler has taken events from its inbox, and the inbox is still here: a store knows this run."""
        return self.inbox.exists() and self.loop_log.exists()

    @property
    def crowd(self) -> Path:
        """The mock crowd's own folder: its configuration, wallet, journal, log."""
        return self.root / "crowd"


@dataclass(frozen=True, slots=True)
class Folder:
    """The state folder of one project."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def blobs(self) -> Path:
        """Files of task bundles by SHA-256 (content-addressed)."""
        return self.root / "blobs"

    @property
    def key_file(self) -> Path:
        """32 random bytes that encrypt secrets in the engine's state."""
        return self.root / "state.key"

    @property
    def passphrase(self) -> Path:
        """What encrypts secrets in the state of the engine `pulumi`, and in exported states."""
        return self.root / "state.passphrase"

    @property
    def backend(self) -> Path:
        """Where the engine `pulumi` keeps its states, unless it was given another place."""
        return self.root / "pulumi"

    @property
    def mock_books(self) -> Path:
        """The mock provider's own database: studies, charged visits, wallet."""
        return self.root / "mock.db"

    @property
    def panel_books(self) -> Path:
        """The generic provider's own database: whom the panel is to pay."""
        return self.root / "panel.db"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    def backup(self, run: str) -> Path:
        """The store a while ago while the run is live; afterwards as it was before the run was taken down."""
        return self.backups / f"{run}.db"

    def stack(self, task: str) -> Path:
        """Folder of the engine's checkpoint, its lock and backup for one task."""
        return self.root / "stacks" / task

    def up_lock(self, task: str) -> Path:
        """Held by the one `up` of a task that changes it."""
        return self.root / f"up.{task}.lock"

    def run(self, run: str) -> RunFolder:
        return RunFolder(self.root / "runs" / run)

    def runs(self) -> list[RunFolder]:
        """Of all runs that were ever up here."""
        return [RunFolder(path) for path in sorted(self.root.glob("runs/*")) if path.is_dir()]


def private_folder(path: Path) -> Path:
    """Make `path` (and parents) a folder of ours, 0700, whose name is on disk on return. Refused if it, or the folder it is
    in, is a link, or if it belongs to somebody else."""
    for folder in (path.parent, path):
        _refuse_link(folder)
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path} is not a plain folder", hint="move it away")
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise Refused(f"{path} belongs to another user", hint="use a folder of your own (--state)")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def private_file(path: Path) -> None:
    """Make `path` a file of mode 0600. Refused if it is anything else. An existing one is not opened: a process that
    closes a handle to a database file drops the locks of every connection that it has to it."""
    try:
        os.close(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{path} is not a plain file", hint="move it away") from None
        if found.st_mode & 0o077:
            path.chmod(0o600)


def open_private(path: Path, flags: int) -> int:
    """A descriptor of `path`, which is made 0600 if `flags` make it. Refused if it is a link."""
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        raise
    except OSError:
        _refuse_link(path)
        raise


def _refuse_link(path: Path) -> None:
    """Whoever planted it would choose what we read or write."""
    if path.is_symlink():
        raise Refused(f"{path} is a link", hint="move it away")


def read_bytes(path: Path) -> bytes:
    """What is in it; nothing when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: on return the new file is on disk whole; a crash leaves the old or the new, never a mix."""
    temp = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    fd = open_private(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames and unlinks in `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def of_pulumi_project(path: str, here: Path) -> Path:
    """A path of a Pulumi project's configuration: relative to its Pulumi.yaml, which is here or above."""
    roots = [folder for folder in (here, *here.parents) if (folder / "Pulumi.yaml").is_file()]
    return (roots[0] if roots else here) / path
