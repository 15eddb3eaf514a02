"""The deployment: what a program registers, against what is there -> steps, and the state after each. No RPC, no file.

A preview and an `up` are the same walk. In a preview the plugin is told so, and `save` keeps nothing. What each option
of a resource does is what Pulumi's own engine does; tests/engine/conformance holds the two against each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from crowdstack.engine.deployments import CREATING, DELETING, UPDATING
from crowdstack.engine.embedded import faults
from crowdstack.engine.embedded.faults import attempt
from crowdstack.engine.embedded.names import Alias, Names
from crowdstack.engine.embedded.options import gap_between, hidden, ignoring, unsure
from crowdstack.engine.embedded.snapshot import Snapshot, is_provider, needs_of
from crowdstack.engine.embedded.state import Operation, Resource, State
from crowdstack.engine.plugin import Diff, Found, Plugin, ResourceType, check, diff
from crowdstack.engine.targets import left_behind, missing, refuse_unknown
from crowdstack.engine.urns import PROVIDER_TYPE, STACK_TYPE
from crowdstack.engine.values import Properties, Unknown, differing, holds, marked, plain
from crowdstack.ports import OnStep, StackResult, Step, ignore
from crowdstack.ports import Operation as Verb

T = TypeVar("T")
_NONE = Diff()


class Deployment:
    """One walk over a stack: `refresh`, `register` for each resource of the program, `finish`, `result`.

    `names` are those of the program; without one nothing is registered. `save`: keeps the state; a preview has none.
    `targets`: the only resources that may change, by URN; all when there are none.
    """

    def __init__(
        self,
        state: State,
        plugin: Plugin,
        *,
        names: Names | None = None,
        save: Callable[[State], None] | None = None,
        on_step: OnStep = ignore,
        targets: Collection[str] = (),
    ) -> None:
        self.names = names or Names("", "")
        self.preview = save is None
        self.steps: list[Step] = []
        self._stack = Snapshot(state)
        self._plugin = plugin
        self._save = save
        self._on_step = on_step
        self._targets = frozenset(targets)
        self._known = {resource.urn for resource in state.resources}
        self._claimed: dict[str, str] = {}  # earlier name -> today's, of what was found by an alias
        self._skipped: set[str] = set()  # wanted and not made, for no target names them
        self._condemned: dict[str, tuple[str, ...]] = {}  # deleted so that what they need can be replaced -> properties

    @property
    def state(self) -> State:
        return self._stack.state

    # ------------------------------------------------------------------------------------------ the walk

    def refresh(self) -> None:
        """Look at every resource: the state then says what is there. What is gone leaves it and is made again later.

        This also settles updates and deletes that were cut off. A cut-off create is left to `register` (which creates
        again: the plugin finds what it had begun) or, when the program wants it no more, to `finish`.
        """
        for urn in [resource.urn for resource in self._stack.there]:
            old = self._stack.live(urn)
            if old is not None and _made_by_plugin(old) and not old.pending_replacement and self._is_target(urn):
                self._look(old)
        stack = self._stack
        stack.pending = [op for op in stack.pending if op.kind == CREATING or not self._is_target(op.resource.urn)]
        self.save()

    def register(
        self, wanted: Resource, *, aliases: Iterable[Alias] = (), delete_first: bool | None = None
    ) -> Resource:
        """Make one resource so; it is in the state when this returns. StepFailed leaves all that was done before."""
        old = self._continued(wanted, aliases)
        if not self._is_target(wanted.urn) and wanted.type != STACK_TYPE:
            return self._leave(old, wanted)
        if needed := needs_of(wanted) & self._skipped:
            raise missing(wanted.urn, needed)
        if wanted.custom:
            return self._make(old, replace(wanted, provider=self._provider()), delete_first)
        return self._group(old, wanted)

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        """The outputs of a component or of the stack."""
        if urn not in self._skipped:
            self._stack.here[urn] = replace(self._stack.here[urn], outputs=outputs)
            self.save()

    def finish(self) -> None:
        """Delete what the program did not register: dependents first, then what a cut-off create may have left."""
        doomed = {resource.urn for resource in self._stack.there if self._is_target(resource.urn)}
        if (needing := next(self._stack.dependents(doomed, children=True), None)) is not None:
            raise left_behind(needing.urn)
        for at in reversed(range(len(self._stack.there))):
            resource = self._stack.there[at]
            if resource.urn in doomed:
                self._delete(resource, doomed)
            elif not is_provider(resource):
                self._did(Verb.SAME, resource)
        for begun in [begun for begun in self._stack.pending if self._is_target(begun.resource.urn)]:
            self._undo(begun)
        self.save()

    def result(self) -> StackResult:
        """What was done, and those outputs that are known."""
        self.refuse_unknown_targets()
        outputs = self.state.outputs or {}
        known = {name: value for name, value in outputs.items() if not holds(value, Unknown)}
        return StackResult(steps=tuple(self.steps), outputs=plain(known))

    def save(self) -> None:
        if self._save is not None:
            self._save(self.state)

    # ------------------------------------------------------------------------------------------ what continues what

    def _continued(self, wanted: Resource, aliases: Iterable[Alias]) -> Resource | None:
        """The entry that this resource continues: under its own name, or under one that it had before."""
        urn = wanted.urn
        if urn in self._stack.here or urn in self._skipped:
            raise faults.same_name(urn)
        if urn in self._claimed:
            raise faults.name_taken(urn, by=self._claimed[urn])
        earlier = self.names.earlier(urn, wanted.parent, aliases)
        # Names that nothing has any more still count for children: an interrupted run may have renamed the parent alone.
        self.names.remember(urn, [name for name in earlier if name not in self._known])
        for name in (urn, *earlier):
            if name != urn and name in self._known and (name in self._claimed or name in self._stack.here):
                raise faults.alias_taken(urn, name, by=self._claimed.get(name, name))
            if (old := self._stack.live(name)) is not None:
                if name != urn:
                    self._claimed[name] = urn
                    self.names.remember(urn, [name])
                return old
        return None

    def _is_target(self, urn: str) -> bool:
        return not self._targets or urn in self._targets

    def refuse_unknown_targets(self) -> None:
        refuse_unknown(self._targets, {*self._known, *self._stack.here, *self._skipped})

    def _leave(self, old: Resource | None, wanted: Resource) -> Resource:
        """No target: it stays as it is, or is not made."""
        if old is None:
            self._skipped.add(wanted.urn)
        else:
            self._stack.leave(old)
        self._did(Verb.SAME, old or wanted)
        return old or wanted

    # ------------------------------------------------------------------------------------------ one resource

    def _look(self, old: Resource) -> None:
        there = _found(old)
        now = attempt("reading", old, lambda: self._plugin.type(old.type).read(there))
        if now is None:
            self._stack.forget(old)
            self._did(Verb.REFRESH, old)
        elif changed := {*differing(there.inputs, now.inputs), *differing(there.outputs, now.outputs)}:
            self._stack.swap(old, self._settled(old, now))
            self._did(Verb.REFRESH, old, Diff(changed=tuple(sorted(changed))))

    def _group(self, old: Resource | None, wanted: Resource) -> Resource:
        """A component or the stack: only the state knows of it."""
        if old is None:
            return self._arrive(Verb.CREATE, wanted, None)
        if old.custom:
            self._stack.swap(old, replace(old, delete=True))
            return self._arrive(Verb.REPLACE, wanted, old, Diff(replaces=("provider",)))
        gap = Diff(changed=differing(old.inputs, wanted.inputs))
        return self._arrive(Verb.UPDATE if gap.changed else Verb.SAME, replace(wanted, outputs=old.outputs), old, gap)

    def _make(self, old: Resource | None, stated: Resource, delete_first: bool | None) -> Resource:
        kind = self._plugin.type(stated.type)
        if stated.import_id and (old is None or stated.import_id != (old.import_id or old.id)):
            old = self._import(kind, old, stated)
            stated = replace(stated, import_id="")
        wanted = stated
        if old is not None and old.urn not in self._condemned:
            wanted = ignoring(old, stated)
        if wrong := check(kind, plain(wanted.inputs)):
            raise faults.wrong_inputs(wanted, wrong)
        if old is None:
            return self._create(kind, None, stated, Verb.CREATE)
        if old.urn in self._condemned:
            return self._create(kind, old, stated, Verb.REPLACE, Diff(replaces=self._condemned.pop(old.urn)))
        gap = gap_between(kind, old, wanted.inputs, wanted.replace_on_changes)
        if gap.replaces or old.pending_replacement:
            return self._replace(kind, old, stated, gap, gap.delete_first if delete_first is None else delete_first)
        wanted = replace(wanted, id=old.id, outputs=old.outputs)
        if not gap.changed:
            return old if old.urn in self._stack.here else self._arrive(Verb.SAME, wanted, old)
        new = plain(wanted.inputs)
        made = self._act(UPDATING, wanted, lambda: kind.update(_found(old), new, preview=self.preview))
        return self._arrive(Verb.UPDATE, self._settled(wanted, made), old, gap)

    def _create(
        self, kind: ResourceType, old: Resource | None, wanted: Resource, verb: Verb, gap: Diff = _NONE
    ) -> Resource:
        """`old`: the entry in whose place the new thing comes; what it names is deleted in the end, or was already."""
        for begun in [begun for begun in self._stack.pending if begun.resource.urn == wanted.urn]:
            other = diff(kind, begun.resource.inputs, wanted.inputs)
            # Where two cannot exist side by side, the one that was begun is brought to these inputs.
            if other.replaces or (other.changed and not kind.delete_first):
                self._undo(begun)
        inputs = plain(wanted.inputs)
        made = self._act(CREATING, wanted, lambda: kind.create(wanted.urn, inputs, preview=self.preview))
        if old is not None and not old.pending_replacement:
            self._stack.swap(old, replace(old, delete=True))
        return self._arrive(verb, self._settled(wanted, made), old, gap)

    def _replace(self, kind: ResourceType, old: Resource, wanted: Resource, gap: Diff, delete_first: bool) -> Resource:
        """A new thing in the place of the old. What the old one ignored counts: its program's own inputs are taken."""
        if old.protect and wanted.protect:
            raise faults.protected(old, f"replaced ({', '.join(gap.replaces)} cannot be changed in place)")
        if wanted.import_id or old.urn in self._stack.here:
            raise faults.imported(wanted, gap.replaces)
        if delete_first:
            old = self._make_way(old)
        return self._create(kind, old, wanted, Verb.REPLACE, gap)

    def _make_way(self, old: Resource) -> Resource:
        """Delete it, and before it all that would have to be replaced with it. Its entry, which stays, says so."""
        condemned: list[Resource] = []
        replaced = {old.urn}
        for other in self._stack.dependents([old.urn], children=False):
            if _made_by_plugin(other) and (inputs := unsure(other, replaced)) is not None:
                gap = gap_between(self._plugin.type(other.type), other, inputs, other.replace_on_changes)
                if gap.replaces:
                    condemned.append(other)
                    replaced.add(other.urn)
                    self._condemned[other.urn] = gap.replaces
        for other in condemned:
            if other.protect:
                raise faults.protected(other, f"replaced with {old.urn}")
        for other in (*reversed(condemned), old):
            emptied = self._empty(other, {other.urn for other in condemned})
        return emptied

    def _empty(self, old: Resource, doomed: Collection[str]) -> Resource:
        if old.pending_replacement:
            return old
        self._let_go(old, doomed)
        emptied = self._stack.swap(old, replace(old, pending_replacement=True))
        self.save()
        return emptied

    def _import(self, kind: ResourceType, old: Resource | None, wanted: Resource) -> Resource:
        """Take over what is there under that id. What it replaces is deleted in the end."""
        there = Found(id=wanted.import_id, inputs={}, outputs={})
        now = attempt("importing", wanted, lambda: kind.read(there))
        if now is None:
            raise faults.nothing_to_import(wanted)
        if old is not None:
            self._stack.swap(old, replace(old, delete=True))
        taken = replace(self._settled(wanted, now), inputs=marked(now.inputs, like=wanted.inputs))
        return self._arrive(Verb.IMPORT, taken, old)

    def _delete(self, resource: Resource, doomed: Collection[str]) -> None:
        """Delete it and its entry. No line is shown for providers, nor for what a replacement left behind."""
        if resource.protect and not resource.delete:
            raise faults.protected(resource, "deleted")
        if not resource.pending_replacement:
            self._let_go(resource, doomed)
        self._stack.forget(resource)
        self.save()
        told = (Verb.REPLACE, Verb.IMPORT)
        replaced = any(step.urn == resource.urn and step.operation in told for step in self.steps)
        if not (replaced or is_provider(resource)):
            self._did(Verb.DELETE, resource)

    def _let_go(self, resource: Resource, doomed: Collection[str]) -> None:
        """Delete the thing itself, unless it is to stay or goes with another that is deleted too."""
        if _made_by_plugin(resource) and not resource.retain_on_delete and resource.deleted_with not in doomed:
            kind = self._plugin.type(resource.type)
            self._act(DELETING, resource, lambda: None if self.preview else kind.delete(_found(resource)))

    def _undo(self, begun: Operation) -> None:
        """Delete what a cut-off create may have left. It stays pending until then, so that nothing is ever forgotten."""
        kind = self._plugin.type(begun.resource.type)
        if not self.preview:
            attempt(DELETING, begun.resource, lambda: kind.delete(_found(begun.resource)))
        self._stack.settle(CREATING, begun.resource.urn)
        self.save()
        self._did(Verb.DELETE, begun.resource)

    # ------------------------------------------------------------------------------------------ the smallest moves

    def _act(self, what: str, resource: Resource, act: Callable[[], T]) -> T:
        """Let the plugin act, with the operation written down first. A fault leaves it pending: its effect is not known.

        On return it is pending no more, which the caller saves together with the outcome.
        """
        if not self.preview:
            self._stack.begin(what, resource)
            self.save()
        done = attempt(what, resource, act)
        self._stack.settle(what, resource.urn)
        return done

    def _arrive(self, verb: Verb, resource: Resource, old: Resource | None, gap: Diff = _NONE) -> Resource:
        """The resource is as wanted: it takes the place of `old`."""
        resource = replace(resource, outputs=hidden(resource))
        self._stack.arrive(resource, old)
        if verb is not Verb.SAME:
            self.save()
        self._did(verb, resource, gap)
        return resource

    def _did(self, verb: Verb, resource: Resource, gap: Diff = _NONE) -> None:
        step = Step(
            operation=verb,
            urn=resource.urn,
            type=resource.type,
            name=resource.name,
            changed=gap.changed,
            replaced_by=gap.replaces if verb is Verb.REPLACE else (),
        )
        self.steps.append(step)
        self._on_step(step)

    def _provider(self) -> str:
        """The package's default provider, which each resource names and which is itself in the state."""
        type_ = f"{PROVIDER_TYPE}{self._plugin.package}"
        urn = self.names.urn(type_, "default")
        provider = self._stack.here.get(urn) or self._stack.live(urn)
        if provider is None:
            provider = Resource(urn=urn, type=type_, custom=True, id=str(uuid.uuid4()))
        self._stack.arrive(provider, provider)
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


def _made_by_plugin(resource: Resource) -> bool:
    return resource.custom and not is_provider(resource)


def _found(resource: Resource) -> Found:
    return Found(id=resource.id, inputs=plain(resource.inputs), outputs=plain(resource.outputs))
