"""Names that a program gives to its resources, and the earlier ones under which it may find what it has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from crowdstack.engine.urns import STACK_TYPE, name_of, type_of, types_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An earlier name as a program states it: the whole URN, or the parts in which it differs from today's."""

    urn: str = ""
    type: str = ""
    name: str = ""
    parent: str = ""
    no_parent: bool = False
    project: str = ""
    stack: str = ""


def below(parent: str, urn: str) -> str:
    """The URN that this resource has once it stands below `parent`."""
    stack, project, _, name = urn.split("::", 3)
    return "::".join((stack, project, _chain(parent, type_of(urn)), name))


def _chain(parent: str, type_: str) -> str:
    """The stack itself is no part of the chain."""
    return type_ if not parent or types_of(parent) == STACK_TYPE else f"{types_of(parent)}${type_}"


class Names:
    """The URNs of one run of a program, and which earlier ones its resources may have had (children inherit them)."""

    def __init__(self, project: str, stack: str) -> None:
        self._project, self._stack = project, stack
        self._former: dict[str, tuple[str, ...]] = {}

    def urn(self, type_: str, name: str, parent: str = "", *, project: str = "", stack: str = "") -> str:
        return f"urn:pulumi:{stack or self._stack}::{project or self._project}::{_chain(parent, type_)}::{name}"

    def earlier(self, urn: str, parent: str, aliases: Iterable[Alias]) -> tuple[str, ...]:
        """Where to look for a resource that is not found under its URN: as stated, and as its parent's earlier names imply."""
        stated = [found for alias in aliases for found in self._stated(alias, urn, parent)]
        inherited = [found for own in (urn, *stated) for found in self._inherited(own, parent)]
        return tuple(name for name in dict.fromkeys((*stated, *inherited)) if name != urn)

    def remember(self, urn: str, former: Collection[str]) -> None:
        """The resource had, or may have had, these names: its children may be found below them."""
        self._former[urn] = tuple(former)

    def _stated(self, alias: Alias, urn: str, parent: str) -> Iterator[str]:
        if alias.urn:
            yield alias.urn
            return
        parents = [alias.parent or parent]
        if alias.no_parent:
            parents = [""]
        elif alias.parent:
            parents = [*self._former.get(alias.parent, ()), alias.parent]
        for above in parents:
            type_, name = alias.type or type_of(urn), alias.name or name_of(urn)
            yield self.urn(type_, name, above, project=alias.project, stack=alias.stack)

    def _inherited(self, urn: str, parent: str) -> Iterator[str]:
        """A child called after its parent (`app-server` below `app`) was called after the parent's earlier name."""
        for above in self._former.get(parent, ()):
            name, today = name_of(urn), name_of(parent)
            if name.startswith(today):
                name = name_of(above) + name.removeprefix(today)
            for place in (above, parent):  # below the parent as it was, and as an interrupted run had left it
                yield self.urn(type_of(urn), name, place)
