"""The resources of a stack while a walk goes over them. No plugin, no file: entries move, and what names them follows.

`there` are the entries of the last state that the walk has not come to yet, `here` those it has. Together, in this order,
they are the state, so that each entry always stands after all that it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from crowdstack.engine.embedded.names import below
from crowdstack.engine.embedded.state import Operation, Resource, State
from crowdstack.engine.urns import PROVIDER_TYPE


class Snapshot:
    def __init__(self, state: State) -> None:
        self.there = list(state.resources)
        self.here: dict[str, Resource] = {}
        self.pending = list(state.pending)

    @property
    def state(self) -> State:
        return State(resources=(*self.here.values(), *self.there), pending=tuple(self.pending))

    def live(self, urn: str) -> Resource | None:
        """The entry that is not come to yet, unless it is only left to be deleted."""
        return next((found for found in self.there if found.urn == urn and not found.delete), None)

    def swap(self, old: Resource, new: Resource) -> Resource:
        """Another entry in the same place."""
        self.there[self.there.index(old)] = new
        return new

    def arrive(self, new: Resource, old: Resource | None) -> None:
        """The walk came to `new`. `old`, which it continues, is gone; what named the old name names the new one."""
        if old in self.there:
            self.there.remove(old)
        self.here[new.urn] = new
        if old is not None and old.urn != new.urn:
            self._rename({old.urn: new.urn})

    def leave(self, old: Resource) -> None:
        """The walk passes by: the entry stays as it is, and so does all it needs, which comes before it."""
        needs = needs_of(old)
        for other in [other for other in self.there if other.urn in needs and not other.delete]:
            if other in self.there:
                self.leave(other)
        self.there.remove(old)
        self.here[old.urn] = old

    def forget(self, gone: Resource) -> None:
        """Take the entry out of the state, and out of what others say they need."""
        self.there.remove(gone)
        if not any(other.urn == gone.urn for other in (*self.here.values(), *self.there)):
            self.there = [_without(other, gone) for other in self.there]

    def dependents(self, of: Collection[str], *, children: bool) -> Iterator[Resource]:
        """Entries not come to yet that need one of `of`, or one that does, in their order."""
        needed = set(of)
        for other in self.there:
            if other.urn not in of and not needed.isdisjoint(needs_of(other, parent=children)):
                needed.add(other.urn)
                yield other

    def begin(self, what: str, resource: Resource) -> None:
        self.settle(what, resource.urn)
        self.pending.append(Operation(kind=what, resource=resource))

    def settle(self, what: str, urn: str) -> None:
        self.pending = [begun for begun in self.pending if (begun.kind, begun.resource.urn) != (what, urn)]

    def _rename(self, names: dict[str, str]) -> None:
        """`names`: old -> new. Children of a renamed parent take the new chain of types into their own names."""
        for at, other in enumerate(self.there):
            if (parent := names.get(other.parent)) is not None:
                names[other.urn] = below(parent, names.get(other.urn, other.urn))
            self.there[at] = _renamed(other, names)


def needs_of(resource: Resource, *, parent: bool = True) -> set[str]:
    """The URNs of all that must stand before it."""
    by_property = {urn for urns in resource.property_dependencies.values() for urn in urns}
    provider = resource.provider.rpartition("::")[0]
    above = resource.parent if parent else ""
    return {above, provider, resource.deleted_with, *resource.dependencies, *by_property} - {""}


def is_provider(resource: Resource) -> bool:
    return resource.type.startswith(PROVIDER_TYPE)


def _renamed(resource: Resource, names: dict[str, str]) -> Resource:
    provider, _, provider_id = resource.provider.rpartition("::")
    return replace(
        resource,
        urn=names.get(resource.urn, resource.urn),
        parent=names.get(resource.parent, resource.parent),
        provider=f"{names[provider]}::{provider_id}" if provider in names else resource.provider,
        deleted_with=names.get(resource.deleted_with, resource.deleted_with),
        dependencies=tuple(names.get(urn, urn) for urn in resource.dependencies),
        property_dependencies={
            name: tuple(names.get(urn, urn) for urn in urns) for name, urns in resource.property_dependencies.items()
        },
    )


def _without(resource: Resource, gone: Resource) -> Resource:
    if gone.urn not in needs_of(resource):
        return resource
    return replace(
        resource,
        parent="" if resource.parent == gone.urn else resource.parent,
        deleted_with="" if resource.deleted_with == gone.urn else resource.deleted_with,
        dependencies=tuple(urn for urn in resource.dependencies if urn != gone.urn),
        property_dependencies={
            name: tuple(urn for urn in urns if urn != gone.urn) for name, urns in resource.property_dependencies.items()
        },
    )
