"""Files: what a spec names, opened beneath its folder and nowhere else (threats F1).

Each step of a path is opened by itself, without following links, and what is read is what was opened: a link swapped in
between check and use finds nothing to redirect. Hard links are files like any other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from crowdstack.spec.load import Document, refuse

_HERE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Unfit(Exception):
    """A path or a file that a spec may not name; says why, and perhaps what now."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@contextmanager
def blaming(document: Document, path: Sequence[str | int]) -> Iterator[None]:
    """Tells what is Unfit inside as a fault of the spec at `path`."""
    try:
        yield
    except Unfit as fault:
        refuse([document.problem(path, fault.message, fault.hint)])


def steps_of(relative: str) -> list[str]:
    """The components of a path below the spec's folder. Unfit for every path that could leave it."""
    if any(ord(letter) < 32 or letter in "\\\x7f" for letter in relative):
        raise Unfit(f"{relative!r} holds characters that a path may not have", "use / between folders")
    steps = [step for step in relative.split("/") if step not in ("", ".")]
    if relative.startswith("/") or ".." in steps or not steps:
        raise Unfit(f"{relative} does not lie below the spec's folder", "move the file beside the spec")
    return steps


@contextmanager
def opened(root: Path, relative: str) -> Iterator[BinaryIO]:
    """The regular file `relative` beneath `root`."""
    with os.fdopen(_descend(root, steps_of(relative), folder=False), "rb") as file:
        yield file


def read(root: Path, relative: str, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes."""
    with opened(root, relative) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Unfit(f"{relative} is larger than {most // 1024:,} KiB")
    return raw


def listed(root: Path, relative: str) -> list[str]:
    """The files below the folder `relative`, as paths from `root`, sorted. Hidden ones (.name) are left out."""
    steps = steps_of(relative)
    fd = _descend(root, steps, folder=True)
    try:
        return _files_below(fd, "/".join(steps))
    finally:
        os.close(fd)


def _files_below(fd: int, prefix: str) -> list[str]:
    found: list[str] = []
    for name in sorted(os.listdir(fd)):
        path = f"{prefix}/{name}"
        if name.startswith("."):
            continue
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            below = _step(fd, name, path, folder=True)
            try:
                found += _files_below(below, path)
            finally:
                os.close(below)
        else:
            found.append(path)
    return found


def _descend(root: Path, steps: list[str], *, folder: bool) -> int:
    fd = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    for number, step in enumerate(steps, start=1):
        try:
            below = _step(fd, step, "/".join(steps[:number]), folder=folder or number < len(steps))
        finally:
            os.close(fd)
        fd = below
    return fd


def _step(at: int, name: str, path: str, *, folder: bool) -> int:
    """Open `name` in the open folder `at`. A FIFO or device must not hold us up: it is opened without waiting, then refused."""
    try:
        fd = os.open(name, _HERE | (os.O_DIRECTORY if folder else os.O_NONBLOCK | os.O_NOCTTY), dir_fd=at)
    except FileNotFoundError:
        close = get_close_matches(name, os.listdir(at), n=1, cutoff=0.6)
        hint = f'did you mean "{close[0]}"?' if close else None
        raise Unfit(f"there is no {'folder' if folder else 'file'} {path}", hint) from None
    except (OSError, UnicodeError) as fault:
        if _is_link(at, name):
            raise Unfit(f"{path} is a link", "put a copy of the file in its place") from None
        raise Unfit(f"{path} cannot be opened: {getattr(fault, 'strerror', None) or fault}") from None
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        os.close(fd)
        raise Unfit(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")
    return fd


def _is_link(at: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
    except (OSError, UnicodeError):
        return False
