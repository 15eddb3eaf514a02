"""Load: YAML or JSON text -> a tree of nodes, each with its file, line and column. No meaning yet.

YAML 1.2 core types (`NO` is text, `012` is 12). Whatever could surprise is a fault: tags, duplicate keys, tabs, bombs
(size and depth counted with aliases expanded). `${NAME}` is put in after parsing, as a scalar (threats F2, F3, 5.9).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from crowdstack.errors import NotFound, Problem, SpecError, UsageError
from crowdstack.spec.text import INTEGER_LIMIT, flaw_of_text

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 100_000
AFTER_SPEC = 1_000_000  # `Place.source` of the files that a spec names

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there: 10 times as fast


class Place(NamedTuple):
    """Where something was written. They sort as a reader meets them: the spec, overlays, `--set`, then other files."""

    source: int
    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping, and where it was written. `key` is the place of its key in the mapping around it."""

    value: Any  # str | int | float | bool | None | list[Node] | dict[str, Node]
    place: Place
    key: Place | None = None

    @property
    def heading(self) -> Place:
        """Where a reader looks for it: its key if it has one."""
        return self.key or self.place

    def plain(self) -> Any:
        """The same without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]  # type: ignore[no-any-return]
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """A spec with its overlays and settings merged: the tree, the file, and the folder its paths start from."""

    root: Node
    file: Path

    def find(self, path: Sequence[str | int]) -> Node:
        """The node at `path`, or the nearest one above it that was written."""
        node = self.root
        for step in path:
            below = node.child(step)
            if below is None:
                break
            node = below
        return node

    def at(self, *path: str | int) -> str:
        """` (task.reward, line 7)`: how a message names a second place; "" for what was not written."""
        node = self.find(path)
        written = node.place.line and node is not self.find(path[:-1])
        return f" ({dotted(path)}, line {node.heading.line})" if written else ""

    def problem(self, path: Sequence[str | int], message: str, hint: str | None = None) -> Located:
        node = self.find(path)
        scalar = not isinstance(node.value, dict | list)
        return located(node.place if scalar else node.heading, path, message, hint)


class Located(NamedTuple):
    """A problem and what it is sorted by."""

    place: Place
    problem: Problem


def located(place: Place, path: Sequence[str | int], message: str, hint: str | None = None) -> Located:
    return Located(place, Problem(where=str(place), path=dotted(path), message=message, hint=hint))


def refuse(problems: Sequence[Located]) -> None:
    """SpecError with all of them in document order; nothing when there are none."""
    if problems:
        raise SpecError([found.problem for found in sorted(problems, key=lambda found: found.place)])


def dotted(path: Sequence[str | int]) -> str:
    """`["task", "data", 0]` -> `task.data[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


# ------------------------------------------------------------------------------------------------ variables

_VARIABLE = re.compile(r"\$(\$?)\{([^}]*)\}")
_CREDENTIAL = re.compile(r"^AWS_|TOKEN|SECRET|PASSWORD|_KEY$")


@dataclass(frozen=True, slots=True)
class Variables:
    """What `${NAME}` may stand for: `CROWDSTACK_VAR_NAME`, or `NAME` itself if the operator's CROWDSTACK_ALLOW_VARS lists it."""

    environ: Mapping[str, str] = field(repr=False)

    def fill(self, text: str) -> str:
        """`text` with each `${NAME}` replaced (`$${` stays a plain `${`). ValueError says why one cannot be."""
        if "${" not in text:
            return text
        return _VARIABLE.sub(lambda match: f"${{{match[2]}}}" if match[1] else self._lookup(match[2]), text)

    def _lookup(self, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(
                f"${{{name}}} is not a variable: names are letters, digits and _ (write $${{ for a plain ${{)"
            )
        if _CREDENTIAL.search(name.upper()):
            raise ValueError(f"${{{name}}} looks like a credential, and a spec may never hold one")
        allowed = [entry.strip() for entry in self.environ.get("CROWDSTACK_ALLOW_VARS", "").split(",")]
        for source in (f"CROWDSTACK_VAR_{name}", *([name] if name in allowed else [])):
            if source in self.environ:
                return self.environ[source]
        raise ValueError(
            f"${{{name}}} has no value: set CROWDSTACK_VAR_{name}, or list {name} in CROWDSTACK_ALLOW_VARS"
        )


# ------------------------------------------------------------------------------------------------ one text

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core rules. ValueError for numbers that are no numbers everywhere."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text, base) if len(text) <= 32 else INTEGER_LIMIT + 1
        if abs(number) > INTEGER_LIMIT:
            raise ValueError("the number is too large (more than 2^53); put it in quotes if it is text")
        return number
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and abs(float(text)) == float("inf")):
        raise ValueError(f"{text[:40]} is not a finite number")
    return float(text) if _FLOAT.fullmatch(text) else text


@dataclass(slots=True)
class _Composer:
    """Turns the parser's events into nodes. Stops at once when the text grows too deep or too large."""

    events: Iterator[Any]
    file: str
    source: int
    variables: Variables | None
    problems: list[Located] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int, int]] = field(default_factory=dict)  # node, its size, its height
    nodes: int = 0

    def place(self, mark: Any) -> Place:
        return Place(self.source, self.file, mark.line + 1, mark.column + 1)

    def fault(self, mark: Any, message: str, hint: str | None = None) -> None:
        self.problems.append(located(self.place(mark), (), message, hint))

    def stop(self, mark: Any, message: str, hint: str | None = None) -> None:
        self.fault(mark, message, hint)
        refuse(self.problems)

    def compose(self, event: Any, depth: int) -> tuple[Node, int]:
        """The node that `event` begins, and its height."""
        mark = event.start_mark
        if depth > MAX_DEPTH:
            self.stop(mark, f"nested deeper than {MAX_DEPTH} levels")
        before = self.nodes
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        if event.tag is not None:
            self.fault(mark, f"the tag {event.tag} is not allowed: a spec holds plain values only")
        self.count(1, mark)
        height = 0
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self.scalar(event), self.place(mark))
        elif isinstance(event, yaml.SequenceStartEvent):
            entries: list[Node] = []
            for start in self.until(yaml.SequenceEndEvent):
                entry, below = self.compose(start, depth + 1)
                entries.append(entry)
                height = max(height, below + 1)
            node = Node(entries, self.place(mark))
        else:
            mapping: dict[str, Node] = {}
            for start in self.until(yaml.MappingEndEvent):
                key = self.key(start)
                entry, below = self.compose(next(self.events), depth + 1)
                height = max(height, below + 1)
                here = self.place(start.start_mark)
                if key in mapping:
                    first = mapping[key].heading.line
                    self.fault(start.start_mark, f'the key "{key[:60]}" was already given on line {first}')
                else:
                    mapping[key] = Node(entry.value, entry.place, here)
            node = Node(mapping, self.place(mark))
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - before, height)
        return node, height

    def until(self, end: type) -> Iterator[Any]:
        for event in self.events:
            if isinstance(event, end):
                return
            yield event

    def count(self, more: int, mark: Any) -> None:
        self.nodes += more
        if self.nodes > MAX_NODES:
            self.stop(mark, f"more than {MAX_NODES:,} values (aliases count each time they are used)")

    def alias(self, event: Any, depth: int) -> tuple[Node, int]:
        if event.anchor not in self.anchors:
            self.stop(event.start_mark, f"the alias *{event.anchor} has no finished anchor before it")
        node, size, height = self.anchors[event.anchor]
        self.count(size, event.start_mark)
        if depth + height > MAX_DEPTH:
            self.stop(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        return node, height

    def key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self.stop(event.start_mark, "a key must be plain text", "put text that begins with { [ or * in quotes")
        self.count(1, event.start_mark)
        if event.tag is not None:
            self.fault(event.start_mark, f"the tag {event.tag} is not allowed: a spec holds plain values only")
        if flaw := flaw_of_text(event.value):
            self.fault(event.start_mark, f"the key holds {flaw}")
        return str(event.value)

    def scalar(self, event: Any) -> Any:
        text = event.value
        try:
            if self.variables:
                text = self.variables.fill(text)
            if flaw := flaw_of_text(text):
                raise ValueError(f"the text holds {flaw}")
            return resolve(text) if event.implicit[0] else text
        except ValueError as fault:
            self.fault(event.start_mark, str(fault))
            return None


def parse(text: str, file: str, *, source: int = 0, variables: Variables | None = None) -> Node:
    """The tree of one YAML or JSON text. SpecError with all faults of the text."""
    if strange := _CONTROL.search(text):
        line, column = text.count("\n", 0, strange.start()) + 1, strange.start() - text.rfind("\n", 0, strange.start())
        refuse(
            [located(Place(source, file, line, column), (), f"the character {strange[0]!a} does not belong in a spec")]
        )
    parser = _Parser(text)
    try:
        composer = _Composer(iter(parser.get_event, None), file, source, variables)
        try:
            return _one_document(composer)
        except yaml.YAMLError as fault:
            mark = getattr(fault, "problem_mark", None)
            place = composer.place(mark) if mark else Place(source, file, 1, 1)
            refuse([*composer.problems, located(place, (), *_syntax(fault, text, place.line))])
            raise
    finally:
        parser.dispose()


def _one_document(composer: _Composer) -> Node:
    root: Node | None = None
    for event in composer.events:
        if isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent | yaml.DocumentEndEvent):
            continue
        if isinstance(event, yaml.StreamEndEvent):
            break
        if root is not None:
            composer.stop(event.start_mark, "a second document begins here; a file holds one", "remove the line ---")
        root, _ = composer.compose(event, 0)
    if root is None:
        refuse([located(Place(composer.source, composer.file, 1, 1), (), "the file is empty")])
    refuse(composer.problems)
    assert root is not None
    return root


def _syntax(fault: yaml.YAMLError, text: str, line: int) -> tuple[str, str | None]:
    """What libyaml found wrong, in words."""
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "the line is indented with a tab", "indent with spaces"
    context, problem = getattr(fault, "context", None), getattr(fault, "problem", None) or str(fault)
    message = f"{context}: {problem}" if context else str(problem)
    hint = 'put text that holds ": " or begins with one of @ ` % & * ! | > in quotes, and check the indentation'
    return f"not valid YAML: {message}", hint


def decode(raw: bytes, file: str, *, source: int = 0) -> str:
    """UTF-8 text, with or without a byte order mark, of at most 1 MiB."""
    if len(raw) > MAX_BYTES:
        refuse([located(Place(source, file), (), f"the file is larger than {MAX_BYTES // 1024:,} KiB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = raw[: fault.start]
        line, column = before.count(b"\n") + 1, fault.start - (before.rfind(b"\n") + 1) + 1
        refuse([located(Place(source, file, line, column), (), "the file is not UTF-8 text", "save it as UTF-8")])
        raise


# ------------------------------------------------------------------------------------------------ layers


def load(
    path: Path, overlays: Sequence[Path] = (), sets: Sequence[str] = (), variables: Variables | None = None
) -> Document:
    """The spec at `path`, `overlays` merged over it in order, then each `a.b=value` of `sets`."""
    root = _file(path, 0, variables)
    for source, overlay in enumerate(overlays, start=1):
        root = merge(root, _file(overlay, source, variables))
    for source, setting in enumerate(sets, start=1 + len(overlays)):
        root = merge(root, _setting(setting, source, variables))
    return Document(root, path)


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings key by key, anything else replaced. A mapping whose `type` changes is replaced
    too, as the fields of the old type mean nothing to the new one."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    old, new = base.value.get("type"), over.value.get("type")
    if old is not None and new is not None and old.value != new.value:
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, base.place, base.key)


def _file(path: Path, source: int, variables: Variables | None) -> Node:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.y*ml")]
        close = get_close_matches(path.name, beside, n=1, cutoff=0.6)
        hint = "give its path" if source else "give its path, or make one: crowdstack new NAME"
        what = "overlay (-f)" if source else "spec"
        raise NotFound(f"there is no {what} {path}", hint=f'did you mean "{close[0]}"?' if close else hint) from None
    except IsADirectoryError:
        raise NotFound(f"{path} is a folder, not a spec", hint=f"give the file, like {path / 'task.yaml'}") from None
    except OSError as fault:
        raise NotFound(f"{path} cannot be read: {fault.strerror}") from fault
    return parse(decode(raw, str(path), source=source), str(path), source=source, variables=variables)


def _setting(setting: str, source: int, variables: Variables | None) -> Node:
    """`provider.type=mock` as a tree of one leaf."""
    path, equals, text = setting.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise UsageError(f"--set {setting} is not a setting", hint="write it like --set target.repeats=3")
    place = Place(source, f"--set {setting}")
    leaf = _moved(parse(text, place.file, source=source, variables=variables), place) if text else Node(None, place)
    for step in reversed(steps):
        leaf = Node({step: Node(leaf.value, place, place)}, place)
    return leaf


def _moved(node: Node, place: Place) -> Node:
    """The same tree, all of it at `place`: line and column of an argument help nobody."""
    if isinstance(node.value, dict):
        return Node({key: _moved(below, place) for key, below in node.value.items()}, place, place)
    if isinstance(node.value, list):
        return Node([_moved(below, place) for below in node.value], place, node.key and place)
    return Node(node.value, place, node.key and place)
