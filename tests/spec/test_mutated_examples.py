"""Any node of any example deleted, retyped or misspelt: every error names the mutated line (its parent's for a deletion)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crowdstack import assets
from crowdstack.errors import Problem, SpecError
from crowdstack.spec import answers_schema, build_bundle, load_items
from crowdstack.spec.check import checked
from crowdstack.spec.load import Document, Node, Variables, load, parse
from tests.size import FULL

WHOLE = sorted((Path(__file__).parent / "whole").glob("*.yaml"))
EXAMPLES = sorted(assets.folder("examples").glob("*/*.yaml")) + WHOLE
SEED = 20261123
Path_ = tuple[str | int, ...]


class Mutation(NamedTuple):
    name: str
    path: Path_
    document: Document
    lines: set[int]  # that an error may name


def everything(document: Document) -> None:
    spec = checked(document)
    build_bundle(spec)
    answers_schema(spec)
    load_items(spec)


def walk(node: Node, path: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
    yield path, node
    below: Any = (
        node.value.items()
        if isinstance(node.value, dict)
        else enumerate(node.value)
        if isinstance(node.value, list)
        else ()
    )
    for step, entry in below:
        yield from walk(entry, (*path, step))


def changed(node: Node, path: Path_, new: Node | None, name: str | None = None) -> Node:
    """The tree with the node at `path` replaced, dropped (None), or under another name."""
    if not path:
        assert new is not None
        return new
    step, rest = path[0], path[1:]
    pairs = list(node.value.items()) if isinstance(node.value, dict) else list(enumerate(node.value))
    kept: list[tuple[Any, Node]] = []
    for key, entry in pairs:
        if key != step:
            kept.append((key, entry))
        elif rest:
            kept.append((key, changed(entry, rest, new, name)))
        elif new is not None:
            kept.append((name or key, new))
    value: Any = dict(kept) if isinstance(node.value, dict) else [entry for _, entry in kept]
    return Node(value, node.place, node.key)


def misspelt(word: str, dice: random.Random) -> str:
    at = dice.randrange(len(word)) if word else 0
    return dice.choice(
        [word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word[:at] + "q" + word[at + 1 :], word.swapcase()]
    )


def mutations(document: Document, dice: random.Random) -> Iterator[Mutation]:
    for path, node in walk(document.root):
        own = {node.place.line, node.heading.line}

        def mutation(name: str, root: Node, lines: set[int], path: Path_ = path) -> Mutation:
            return Mutation(name, path, Document(root, document.file), lines)

        for value in ("zzz", "", 7, -1, 0.5, True, None, [], {}, ["x"], {"x": 1}):
            wrapped = _nodes(value, node)
            yield mutation(f"retyped to {value!r}", changed(document.root, path, wrapped), own)
        if isinstance(node.value, str):
            for _ in range(3):
                word = misspelt(node.value, dice)
                yield mutation(
                    f"misspelt {word!r}", changed(document.root, path, Node(word, node.place, node.key)), own
                )
        if path:
            parent = document.find(path[:-1])
            around = {parent.place.line, parent.heading.line}
            yield mutation("deleted", changed(document.root, path, None), around)
            if isinstance(path[-1], str):
                word = misspelt(path[-1], dice)
                yield mutation(f"renamed {word!r}", changed(document.root, path, node, word), own | around)


def _nodes(value: Any, like: Node) -> Node:
    """`value` written where `like` was."""
    if isinstance(value, dict):
        return Node({key: _nodes(entry, like) for key, entry in value.items()}, like.place, like.key)
    if isinstance(value, list):
        return Node([_nodes(entry, like) for entry in value], like.place, like.key)
    return Node(value, like.place, like.key)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_error_names_the_mutated_line(example: Path) -> None:
    dice = random.Random(f"{SEED} {example.name}")
    document = load(example)
    everything(document)
    refused = 0
    large = (example.parent / "items.csv").stat().st_size > 50_000 or example in WHOLE
    for number, mutation in enumerate(mutations(document, dice)):
        if large and not FULL and number % 5:  # each costs a reading of all items: a fifth is enough for every day
            continue
        try:
            everything(mutation.document)
        except SpecError as fault:
            refused += 1
            for problem in fault.problems:
                named = {
                    int(line) for line in re.findall(r"\.yaml:(\d+)|line (\d+)", str(problem)) for line in line if line
                }
                assert named & mutation.lines, f"{mutation.path} {mutation.name}: {problem}"
    assert refused > 100


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_text_cut_or_spoilt_anywhere_ends_in_a_spec_error_or_is_valid(example: Path) -> None:
    dice = random.Random(f"{SEED} text {example.name}")
    text = example.read_text()
    told: list[Problem] = []
    for _ in range(2000 if FULL else 150):
        at, size = dice.randrange(len(text)), dice.randrange(1, 12)
        put = dice.choice(["", "x", ":", "\n", "\t", "[", "}", '"', "&a", "*a", "- ", "!", "\x00", "\r", "é", "${X}"])
        try:
            checked(Document(parse(text[:at] + put + text[at + size :], "f", variables=Variables({})), example))
        except SpecError as fault:
            told += fault.problems
    assert len(told) > 50
    assert all(problem.where.startswith("f:") and problem.message for problem in told)
