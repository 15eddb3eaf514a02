"""A power cut, replayed: strace writes down what a process did to its disk, `Disk` says what of it outlives a cut at any line.

Certain is only what was synced: bytes of a file by fsync or fdatasync of that file, a name by fsync of its folder. Of the
rest each sector of 512 bytes may or may not have reached the disk, in any order; names change in the order they were
changed in, as file systems with a journal have it. What is mapped (`-shm`) comes back as garbage.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SECTOR = 512
_WRITES = "?write,?writev,?pwrite64,?pwritev,?pwritev2,?ftruncate,?truncate,?fallocate,?copy_file_range,?sendfile,?mmap"
_SYNCS = "?fsync,?fdatasync,?sync_file_range,?msync"
_NAMES = (
    "?open,?openat,?openat2,?creat,?rename,?renameat,?renameat2,?link,?linkat,?unlink,?unlinkat,?mkdir,?mkdirat,?rmdir"
)
_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")
_ARGUMENT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|([^,()"<]+)?(?:<((?:\\x[0-9a-f]{2})*)>)?(?:\(deleted\))?')


def traced(log: Path) -> list[str]:
    """The command to put before another one; several may write into the same log, one after the other."""
    calls = f"trace={_WRITES},{_SYNCS},{_NAMES},?close,?sendto"
    return ["strace", "-f", "-qq", "-y", "-xx", "-s", "33554432", "-e", calls, "-A", "-o", str(log)]


@dataclass(frozen=True, slots=True)
class Argument:
    text: str  # as strace shows it: "7", "O_RDWR|O_CREAT"
    data: bytes  # of a string; of a descriptor, the path it stands for


@dataclass(frozen=True, slots=True)
class Call:
    """A system call; each is told when it begins and when it has ended, with its result (below 0: it failed)."""

    name: str
    arguments: tuple[Argument, ...]
    thread: str
    result: int | None  # None: it only begins here

    def path(self, at: int) -> PurePosixPath:
        return PurePosixPath(self.arguments[at].data.decode())

    def number(self, at: int) -> int:
        return int(self.arguments[at].text, 0)


def calls(log: Path) -> Iterator[Call]:
    with log.open() as lines:
        yield from _calls(lines)


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:  # a signal, an exit
            continue
        thread, name, rest = found.groups()
        resumed = thread in begun
        whole = begun.pop(thread, "") + rest
        if whole.endswith("<unfinished ...>"):
            begun[thread] = whole.removesuffix("<unfinished ...>")
            yield Call(name, _arguments(begun[thread]), thread, None)
            continue
        shown, _, result = whole.rpartition(" = ")
        if not resumed:
            yield Call(name, _arguments(shown), thread, None)
        value = re.match(r"-?\w+", result)
        if value is not None:  # "?" when the process ended in it
            yield Call(name, _arguments(shown), thread, int(value[0], 0))


def _arguments(shown: str) -> tuple[Argument, ...]:
    made = []
    for part in shown.rstrip(") ").split(", "):
        found = _ARGUMENT.match(part)
        assert found is not None
        text, cut, plain, path = found.groups()
        assert cut is None, "strace cut the data of a call short"
        made.append(Argument((plain or "").strip(), bytes.fromhex((text or path or "").replace("\\x", ""))))
    return tuple(made)


@dataclass(slots=True)
class File:
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data), or (size, None): cut to it
    is_folder: bool = False

    def sync(self, first: int) -> None:
        """The first so many changes are on disk for certain."""
        for change in self.unsynced[:first]:
            _apply(self.synced, *change)
        del self.unsynced[:first]

    def size(self) -> int:
        now = len(self.synced)
        for at, data in self.unsynced:
            now = at if data is None else max(now, at + len(data))
        return now

    def after_cut(self, share: float, chance: random.Random) -> bytes:
        left = bytearray(self.synced)
        for at, data in self.unsynced:
            if data is None:
                if chance.random() < share:
                    _apply(left, at, None)
                continue
            start = at
            while start < at + len(data):
                end = min(start - start % SECTOR + SECTOR, at + len(data))
                if chance.random() < share:
                    _apply(left, start, data[start - at : end - at])
                start = end
        return bytes(left)


def _apply(to: bytearray, at: int, data: bytes | None) -> None:
    if len(to) < at:
        to.extend(bytes(at - len(to)))
    if data is None:
        del to[at:]
    else:
        to[at : at + len(data)] = data


Names = dict[PurePosixPath, File]


class Disk:
    """The files below `root`, call by call. Whatever it has no rule for is an error, never a pass."""

    def __init__(self, root: Path) -> None:
        self._root = PurePosixPath(root)
        self._names: Names = {}
        self._durable: Names = {}
        self._unsynced: list[tuple[PurePosixPath, File | None]] = []  # names given and taken, oldest first
        self._begun: dict[str, int] = {}  # by thread: what a sync under way will cover
        self._at: dict[str, int] = {}  # by descriptor: where `write` goes on

    def take(self, call: Call) -> None:
        paths = [path for at in range(len(call.arguments)) if (path := self._ours(call, at))]
        if paths and re.search("at2?$", call.name):
            assert call.arguments[0].text == "AT_FDCWD", f"{call.name} below an open folder is not modelled"
        if call.name == "close":
            self._at.pop(call.arguments[0].text, None)
        elif paths and call.result is None:
            self._begun[call.thread] = self._covers(paths[0])
        elif paths and call.result is not None and call.result >= 0:
            rule = getattr(self, f"_{call.name.removesuffix('64')}", None)
            assert rule is not None, f"a power cut after {call.name} of {paths[0]} is not modelled"
            rule(call, *paths)

    def after_cut(self, to: Path, *, share: float, chance: random.Random) -> None:
        """Write down below `to` what a cut here leaves, when of all that was not synced about this share was written."""
        names = dict(self._durable)
        kept = len(self._unsynced) if share == 1 else 0 if share == 0 else chance.randint(0, len(self._unsynced))
        for path, file in self._unsynced[:kept]:
            _name(names, path, file)
        for path, file in sorted(names.items()):
            if any(parent not in names for parent in path.parents if self._root in parent.parents):
                continue  # its folder is gone
            target = to / path.relative_to(self._root)
            if file.is_folder:
                target.mkdir(mode=0o700)
            else:
                mapped = path.name.endswith("-shm")
                target.write_bytes(chance.randbytes(32768) if mapped else file.after_cut(share, chance))
                target.chmod(0o600)

    # -------------------------------------------------------------------------------------------- rules

    def _ours(self, call: Call, at: int) -> PurePosixPath | None:
        """The path that an argument names or stands for, if it is the root or below."""
        if call.name in ("write", "pwrite64", "sendto") and at:
            return None  # data, not a path
        found = call.arguments[at].data
        if not found.startswith(str(self._root).encode()):
            return None
        path = call.path(at)
        return path if path == self._root or self._root in path.parents else None

    def _covers(self, path: PurePosixPath) -> int:
        file = self._names.get(path)
        return len(self._unsynced) if file is None or file.is_folder else len(file.unsynced)

    def _give(self, path: PurePosixPath, file: File | None) -> None:
        _name(self._names, path, file)
        self._unsynced.append((path, file))

    def _openat(self, call: Call, path: PurePosixPath, *_: PurePosixPath) -> None:
        flags = call.arguments[2].text
        assert not re.search("O_DSYNC|O_SYNC|O_APPEND|O_TMPFILE", flags), f"{flags} is not modelled"
        assert call.result is not None
        if "O_CREAT" in flags and path not in self._names:
            self._give(path, File())
        elif "O_TRUNC" in flags:
            self._names[path].unsynced.append((0, None))
        self._at[str(call.result)] = 0

    def _write(self, call: Call, path: PurePosixPath) -> None:
        assert call.result is not None
        fd = call.arguments[0].text
        self._names[path].unsynced.append((self._at[fd], call.arguments[1].data[: call.result]))
        self._at[fd] += call.result

    def _pwrite(self, call: Call, path: PurePosixPath) -> None:
        assert call.result is not None
        self._names[path].unsynced.append((call.number(3), call.arguments[1].data[: call.result]))

    def _ftruncate(self, call: Call, path: PurePosixPath) -> None:
        self._names[path].unsynced.append((call.number(1), None))

    def _fallocate(self, call: Call, path: PurePosixPath) -> None:
        assert call.number(1) == 0, "only room added at the end is modelled"
        file = self._names[path]
        file.unsynced.append((max(file.size(), call.number(2) + call.number(3)), None))

    def _mmap(self, call: Call, path: PurePosixPath) -> None:
        writable = "PROT_WRITE" in call.arguments[2].text and "MAP_SHARED" in call.arguments[3].text
        assert not writable or path.name.endswith("-shm"), f"{path} is written through a mapping"

    def _fsync(self, call: Call, path: PurePosixPath) -> None:
        """What had been done when it began is on disk now that it has ended."""
        covered = self._begun[call.thread]
        file = self._names.get(path)
        if file is not None and not file.is_folder:
            file.sync(covered)
            return
        now, later = self._unsynced[:covered], self._unsynced[covered:]
        for name, given in now:
            if name.parent == path:
                _name(self._durable, name, given)
        self._unsynced = [change for change in now if change[0].parent != path] + later

    _fdatasync = _fsync

    def _rename(self, _: Call, old: PurePosixPath, new: PurePosixPath) -> None:
        file = self._names[old]
        self._give(new, file)
        self._give(old, None)

    _renameat = _renameat2 = _rename

    def _unlink(self, _: Call, path: PurePosixPath) -> None:
        self._give(path, None)

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, _: Call, path: PurePosixPath) -> None:
        self._give(path, File(is_folder=True))

    _mkdirat = _mkdir


def _name(names: Names, path: PurePosixPath, file: File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file
