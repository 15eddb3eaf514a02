"""The deployment: what a program registers, against what is there -> steps, and the state after each. No RPC, no file.

A preview and an `up` are the same walk. In a preview the plugin is told so, and `save` keeps nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from crowdstack.engine.checkpoint import PROVIDER_TYPE, STACK_TYPE, Operation, Resource, State
from crowdstack.engine.plugin import Found, Plugin, ResourceType, check, diff
from crowdstack.engine.values import Properties, differing, marked, plain
from crowdstack.errors import CrowdstackError, StepFailed
from crowdstack.ports import OnStep, Step
from crowdstack.ports import Operation as Verb

T = TypeVar("T")
CREATING, UPDATING, DELETING = "creating", "updating", "deleting"  # Pulumi's words for pending operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A resource as the program wants it."""

    type: str
    name: str
    custom: bool
    parent: str = ""
    inputs: Properties = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def urn_of(goal: Goal, *, project: str, stack: str) -> str:
    """Pulumi's name of a resource: its type below those of its parents. The stack itself is no part of the chain."""
    chain = goal.type
    if goal.parent:
        parents = goal.parent.split("::")[2]
        chain = goal.type if parents == STACK_TYPE else f"{parents}${goal.type}"
    return f"urn:pulumi:{stack}::{project}::{chain}::{goal.name}"


class Deployment:
    """One walk over a stack: `refresh`, `register` for each resource of the program, `finish`.

    `_there` are the resources of the last state that this walk has not come to yet; `_here` are those it has. Together,
    in this order, they are the state, so that each resource always stands after all it depends on.
    """

    def __init__(
        self,
        state: State,
        plugin: Plugin,
        *,
        project: str,
        stack: str,
        save: Callable[[State], None] | None,
        on_step: OnStep,
    ) -> None:
        self._there = list(state.resources)
        self._here: dict[str, Resource] = {}
        self._pending = list(state.pending)
        self._plugin = plugin
        self._project, self._stack = project, stack
        self._preview = save is None
        self._save = save
        self._on_step = on_step
        self.steps: list[Step] = []

    @property
    def state(self) -> State:
        return State(resources=(*self._here.values(), *self._there), pending=tuple(self._pending))

    # ------------------------------------------------------------------------------------------ the walk

    def refresh(self) -> None:
        """Look at every resource: the state then says what is there. What is gone leaves it and is made again later.

        This also settles updates and deletes that were cut off. A cut-off create is left to `register` (which creates
        again: the plugin finds what it had begun) or, when the program wants it no more, to `finish`.
        """
        for urn in [resource.urn for resource in self._there if _made_by_plugin(resource) and not resource.delete]:
            resource = self._live(urn)
            assert resource is not None
            there = _found(resource)
            now = self._plugin.type(resource.type).read(there)
            if now is None:
                self._forget(resource)
                self._did(Verb.REFRESH, resource)
                continue
            changed = tuple(sorted({*differing(there.inputs, now.inputs), *differing(there.outputs, now.outputs)}))
            if changed:
                self._there[self._there.index(resource)] = self._settled(resource, now)
                self._did(Verb.REFRESH, resource, changed=changed)
        self._pending = [operation for operation in self._pending if operation.kind == CREATING]
        self.save()

    def register(self, goal: Goal) -> Resource:
        """Make one resource so; it is in the state when this returns. StepFailed leaves all that was done before."""
        urn = urn_of(goal, project=self._project, stack=self._stack)
        if urn in self._here:
            raise StepFailed("two resources of one name", where=urn, hint="give one of them another name")
        wanted = Resource(
            urn=urn,
            type=goal.type,
            custom=goal.custom,
            parent=goal.parent,
            inputs=goal.inputs,
            dependencies=goal.dependencies,
            property_dependencies=goal.property_dependencies,
        )
        old = self._live(urn)
        if goal.custom:
            kind = self._plugin.type(goal.type)
            if faults := check(kind, plain(goal.inputs)):
                raise StepFailed(f"{goal.type} {goal.name} has inputs that cannot be", where=urn, why="; ".join(faults))
            return self._make(kind, old, replace(wanted, provider=self._provider()))
        if old is None:
            return self._arrive(Verb.CREATE, wanted)
        changed = differing(old.inputs, wanted.inputs)
        return self._arrive(Verb.UPDATE if changed else Verb.SAME, replace(wanted, outputs=old.outputs), changed)

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        """The outputs of a component or of the stack."""
        self._here[urn] = replace(self._here[urn], outputs=outputs)
        self.save()

    def finish(self) -> None:
        """Delete what the program did not register: dependents first, then what a cut-off create may have left."""
        while self._there:
            self._delete(self._there[-1])
        while self._pending:
            self._undo(self._pending[-1])
        self.save()

    def save(self) -> None:
        if self._save is not None:
            self._save(self.state)

    # ------------------------------------------------------------------------------------------ one resource

    def _make(self, kind: ResourceType, old: Resource | None, wanted: Resource) -> Resource:
        if old is None:
            for begun in [operation for operation in self._pending if operation.resource.urn == wanted.urn]:
                if diff(kind, begun.resource.inputs, wanted.inputs).replaces:
                    self._undo(begun)
            return self._create(kind, wanted, Verb.CREATE)
        gap = diff(kind, old.inputs, wanted.inputs)
        wanted = replace(wanted, id=old.id, outputs=old.outputs)
        if not gap.changed:
            return self._arrive(Verb.SAME, wanted)
        if not gap.replaces:
            new = plain(wanted.inputs)
            made = self._act(UPDATING, wanted, lambda: kind.update(_found(old), new, preview=self._preview))
            return self._arrive(Verb.UPDATE, self._settled(wanted, made), changed=gap.changed)
        if gap.delete_first:
            self._delete(old, quietly=True)
        else:
            self._there[self._there.index(old)] = replace(old, delete=True)
        fresh = replace(wanted, id="", outputs={})
        return self._create(kind, fresh, Verb.REPLACE, changed=gap.changed, replaced_by=gap.replaces)

    def _create(
        self,
        kind: ResourceType,
        wanted: Resource,
        verb: Verb,
        changed: tuple[str, ...] = (),
        replaced_by: tuple[str, ...] = (),
    ) -> Resource:
        inputs = plain(wanted.inputs)
        made = self._act(CREATING, wanted, lambda: kind.create(wanted.urn, inputs, preview=self._preview))
        return self._arrive(verb, self._settled(wanted, made), changed=changed, replaced_by=replaced_by)

    def _delete(self, resource: Resource, *, quietly: bool = False) -> None:
        """Delete it and its entry. No line is shown for providers, nor for what a replacement left behind."""
        if needing := [other.urn for other in self._there if resource.urn in other.dependencies]:
            raise StepFailed(
                "it must be deleted before its replacement is made, but others depend on it",
                where=resource.urn,
                why=f"needed by {', '.join(needing)}; the embedded engine does not replace dependents",
            )
        if _made_by_plugin(resource):
            kind = self._plugin.type(resource.type)
            self._act(DELETING, resource, lambda: None if self._preview else kind.delete(_found(resource)))
        self._forget(resource)
        self.save()
        replaced = any(step.urn == resource.urn and step.operation is Verb.REPLACE for step in self.steps)
        if not (quietly or replaced or resource.type.startswith(PROVIDER_TYPE)):
            self._did(Verb.DELETE, resource)

    def _undo(self, begun: Operation) -> None:
        """Delete what a cut-off create may have left. It stays pending until then, so that nothing is ever forgotten."""
        kind = self._plugin.type(begun.resource.type)
        if not self._preview:
            _attempt(DELETING, begun.resource, lambda: kind.delete(_found(begun.resource)))
        self._pending.remove(begun)
        self.save()
        self._did(Verb.DELETE, begun.resource)

    def _act(self, what: str, resource: Resource, act: Callable[[], T]) -> T:
        """Let the plugin act, with the operation written down first. A fault leaves it pending: its effect is not known.

        On return it is pending no more, which the caller saves together with the outcome.
        """
        if not self._preview:
            self._settle(resource.urn)
            self._pending.append(Operation(kind=what, resource=resource))
            self.save()
        done = _attempt(what, resource, act)
        self._settle(resource.urn)
        return done

    def _settle(self, urn: str) -> None:
        self._pending = [operation for operation in self._pending if operation.resource.urn != urn]

    def _arrive(
        self, verb: Verb, resource: Resource, changed: tuple[str, ...] = (), replaced_by: tuple[str, ...] = ()
    ) -> Resource:
        """The resource is as wanted: it moves from `_there` to `_here`."""
        self._there = [other for other in self._there if other.delete or other.urn != resource.urn]
        self._here[resource.urn] = resource
        if verb is not Verb.SAME:
            self.save()
        self._did(verb, resource, changed, replaced_by)
        return resource

    def _did(
        self, verb: Verb, resource: Resource, changed: tuple[str, ...] = (), replaced_by: tuple[str, ...] = ()
    ) -> None:
        step = Step(
            operation=verb,
            urn=resource.urn,
            type=resource.type,
            name=resource.name,
            changed=changed,
            replaced_by=replaced_by,
        )
        self.steps.append(step)
        self._on_step(step)

    def _provider(self) -> str:
        """The package's default provider, which each resource names and which is itself in the state."""
        goal = Goal(type=f"{PROVIDER_TYPE}{self._plugin.package}", name="default", custom=True)
        urn = urn_of(goal, project=self._project, stack=self._stack)
        provider = self._here.get(urn) or self._live(urn)
        if provider is None:
            provider = Resource(urn=urn, type=goal.type, custom=True, id=str(uuid.uuid4()))
        if provider in self._there:
            self._there.remove(provider)
        self._here[urn] = provider
        return f"{urn}::{provider.id}"

    def _settled(self, resource: Resource, found: Found) -> Resource:
        """The resource with what the plugin says of it, secrets marked again."""
        return replace(
            resource,
            id=found.id,
            inputs=marked(found.inputs, like=resource.inputs),
            outputs=marked(
                found.outputs,
                like={**resource.inputs, **resource.outputs},
                secret=self._plugin.type(resource.type).secret_outputs,
            ),
        )

    def _live(self, urn: str) -> Resource | None:
        return next((found for found in self._there if found.urn == urn and not found.delete), None)

    def _forget(self, resource: Resource) -> None:
        """Take it out of the state, and out of what others say they depend on."""
        self._there.remove(resource)
        self._there = [_without(other, resource.urn) for other in self._there]


def _without(resource: Resource, urn: str) -> Resource:
    if resource.urn == urn or urn not in resource.dependencies:
        return resource
    return replace(
        resource,
        dependencies=tuple(other for other in resource.dependencies if other != urn),
        property_dependencies={
            name: tuple(other for other in urns if other != urn)
            for name, urns in resource.property_dependencies.items()
        },
    )


def _made_by_plugin(resource: Resource) -> bool:
    return resource.custom and not resource.type.startswith(PROVIDER_TYPE)


def _found(resource: Resource) -> Found:
    return Found(id=resource.id, inputs=plain(resource.inputs), outputs=plain(resource.outputs))


def _attempt(what: str, resource: Resource, act: Callable[[], T]) -> T:
    try:
        return act()
    except CrowdstackError as fault:
        told, where, why, hint = fault.what, fault.where, fault.why, fault.hint
        cause: Exception = fault
    except OSError as fault:
        told, where, why, hint = (
            fault.strerror or str(fault),
            fault.filename,
            None,
            "mend it and run the same command again",
        )
        cause = fault
    raise StepFailed(
        f"{what} {resource.type} {resource.name} failed: {told}",
        where=str(where or resource.urn),
        why=why,
        hint=hint,
    ) from cause
