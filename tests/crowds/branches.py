"""Which outcomes of which conditions of a module have been seen: every conditional jump of its bytecode, both ways.

Finer than lines: `a and b`, a conditional expression or a filter in a comprehension has branches of its own.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TypeVar

T = TypeVar("T")
Outcome = tuple[str, int, int, bool]  # function, line, offset of the condition, what it was


def _jumps(code: CodeType) -> Iterator[tuple[int, int, int, bool]]:
    """(line, offset, offset that follows, what the condition is when that is gone to) of each condition."""
    line, found = 0, list(dis.get_instructions(code))
    for instruction, following in pairwise(found):
        if instruction.starts_line:
            line = _line(instruction) or line
        name = instruction.opname
        if "JUMP" in name and "IF" in name:
            yield line, instruction.offset, following.offset, "FALSE" in name or "IF_NONE" in name


def _line(instruction: dis.Instruction) -> int | None:
    number = getattr(instruction, "line_number", None)  # since Python 3.13; before, starts_line is the number
    return number if number is not None else instruction.starts_line


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class Branches:
    def __init__(self, module: ModuleType) -> None:
        assert module.__file__ is not None
        self.file = module.__file__
        with open(self.file, encoding="utf-8") as text:
            self.lines = text.read().splitlines()
        self._at: dict[tuple[str, int], dict[int, tuple[int, int, bool]]] = {}
        with open(self.file, encoding="utf-8") as text:
            top = compile(text.read(), self.file, "exec")
        for code in _codes(top):
            if code is not top and code.co_name != "Observed":
                jumps = {offset: (line, onward, value) for line, offset, onward, value in _jumps(code)}
                self._at[code.co_name, code.co_firstlineno] = jumps
        self.seen: set[Outcome] = set()
        self._done: set[tuple[str, int]] = set()  # functions of which every outcome was seen

    @property
    def every(self) -> set[Outcome]:
        return {
            (name, line, offset, value)
            for (name, _), jumps in self._at.items()
            for offset, (line, _, _) in jumps.items()
            for value in (True, False)
        }

    def missing(self) -> list[str]:
        """`function: text of the line: True|False`, for each condition that was never this; sorted by line."""
        found = sorted(self.every - self.seen, key=lambda outcome: outcome[1:])
        return [f"{name}: {self.lines[line - 1].strip()}: {value}" for name, line, _, value in found]

    @contextmanager
    def watching(self, *users: ModuleType) -> Iterator[None]:
        """Inside, the calls of the module's functions that these modules make, by the names they imported, are watched."""
        imported = [(user, name, verb) for user in users for name, verb in vars(user).items() if self._ours(verb)]
        for user, name, verb in imported:
            setattr(user, name, self._watched(verb))
        try:
            yield
        finally:
            for user, name, verb in imported:
                setattr(user, name, verb)

    def _ours(self, value: object) -> bool:
        return isinstance(value, FunctionType) and value.__code__.co_filename == self.file

    def _watched(self, verb: Callable[..., T]) -> Callable[..., T]:
        def watched(*arguments: Any) -> T:
            earlier = sys.gettrace()
            sys.settrace(self._entered)
            try:
                return verb(*arguments)
            finally:
                sys.settrace(earlier)

        return watched

    def _all_seen(self, name: str, line: int) -> bool:
        """Of this function: then nothing is to be learned from one more call."""
        if (name, line) not in self._done:
            jumps = self._at[name, line].items()
            outcomes = ((name, at_line, offset, value) for offset, (at_line, _, _) in jumps for value in (True, False))
            if all(outcome in self.seen for outcome in outcomes):
                self._done.add((name, line))
        return (name, line) in self._done

    def _entered(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        jumps = self._at.get((code.co_name, code.co_firstlineno)) if code.co_filename == self.file else None
        if jumps is None or self._all_seen(code.co_name, code.co_firstlineno):
            return None
        before = -1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "opcode":
                if (jump := jumps.get(before)) is not None:
                    line, onward, value = jump
                    self.seen.add((code.co_name, line, before, value is (frame.f_lasti == onward)))
                before = frame.f_lasti
            return step

        return step
