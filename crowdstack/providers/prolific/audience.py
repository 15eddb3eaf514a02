"""Who is shown a study at Prolific: its filters, fixed when it is published, and participant groups, which stay open to change.

Whom the operator wants no more, and who alone may come, stand in two groups of the task's own. A published study follows its
groups at once, its filters never (docs.prolific.com): so both are made before, and membership is all that changes after. A
part of the adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import Admission, StudyKey, WorkerId
from crowdstack.ports import GroupChange
from crowdstack.providers.prolific.answers import Group
from crowdstack.providers.prolific.faults import ApiRefused
from crowdstack.providers.prolific.legacy import as_filter
from crowdstack.providers.prolific.money import is_id
from crowdstack.providers.prolific.sight import Sight
from crowdstack.providers.prolific.terms import own_groups

ALLOW, BLOCK = "participant_group_allowlist", "participant_group_blocklist"
_NAMED = {"allow_groups": ALLOW, "block_groups": BLOCK}  # settings
_OWN = {"allowed": ALLOW, "blocked": BLOCK}  # ends of our groups' names, and of the notes with their ids


class Audience(Sight):
    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        """Found by its name or made, then filled: `open_study` goes by the notes, so by groups that are complete."""
        there = self._api.list_groups()
        for end, workers in _own(admission):
            group = self._own_group(there, key, end) or self._make_own_group(key, end)
            members = self._api.list_members(group.id)
            if joining := workers - members:
                self._api.add_members(group.id, sorted(joining))
            if leaving := members - workers:
                self._api.remove_members(group.id, sorted(leaving))
            self._notes(key).put(f"group:{end}", group.id)

    def group_changes(self, key: StudyKey, admission: Admission) -> tuple[GroupChange, ...]:
        there = self._api.list_groups()
        changes = []
        if self._id(key) is None:  # after that its filters are what they are
            named = (name for setting in _NAMED for name in self._settings.get(setting) or ())
            missing = [name for name in dict.fromkeys(named) if self._group(there, name) is None]
            changes += [GroupChange(name=name, made=True) for name in missing]
        for end, workers in _own(admission):
            group = self._own_group(there, key, end)
            members = set() if group is None else self._api.list_members(group.id)
            if group is None or members != workers:
                change = GroupChange(
                    name=own_groups(key, end)[0] if group is None else group.name,
                    made=group is None,
                    joining=len(workers - members),
                    leaving=len(members - workers),
                )
                changes.append(change)
        return tuple(changes)

    def _filters(self, key: StudyKey) -> list[Mapping[str, Any]]:
        """All of a new study. Refused: a filter or group that the account does not have."""
        filters = [
            *(self._settings.get("filters") or ()),
            *map(as_filter, self._settings.get("eligibility_requirements") or ()),
            *self._group_filters(key),
        ]
        _check(filters, known={found.id for found in self._api.list_filters()} if filters else ())
        return filters

    def _group_filters(self, key: StudyKey) -> Iterator[Mapping[str, Any]]:
        """One filter for each thing that is asked: separate ones must all be passed, of several groups in one any will do."""
        wanted = [(_NAMED[setting], names) for setting in _NAMED if (names := self._settings.get(setting))]
        there = self._api.list_groups() if wanted else []
        for filter_id, names in wanted:
            groups = [self._group(there, name) or self._api.create_group(name) for name in names]
            yield {"filter_id": filter_id, "selected_values": [group.id for group in groups]}
        for end, filter_id in _OWN.items():
            if id_ := self._notes(key).get(f"group:{end}"):
                yield {"filter_id": filter_id, "selected_values": [id_]}

    def _own_group(self, there: Sequence[Group], key: StudyKey, end: str) -> Group | None:
        """The one that the study was made with, whatever it is called now; before that, by its name."""
        names = [self._notes(key).get(f"group:{end}"), *own_groups(key, end)]
        return next((found for name in names if name and (found := group_named(there, name))), None)

    def _make_own_group(self, key: StudyKey, end: str) -> Group:
        """The name of a group that somebody deleted may stay taken: then under the next one."""
        names = own_groups(key, end)
        for name in names[:-1]:
            try:
                return self._api.create_group(name)
            except ApiRefused as fault:
                if fault.status != 400:
                    raise
        return self._api.create_group(names[-1])

    def _group(self, there: Sequence[Group], name: str) -> Group | None:
        """One that the spec names; None: it is to be made."""
        found = group_named(there, name)
        if found is None and not self._settings.get("create"):
            known = [group.name for group in there]
            near = get_close_matches(name, known, 1)
            raise Refused(
                f"there is no participant group {name!r} in the workspace",
                why=f"it has {', '.join(map(repr, sorted(known))) or 'none'}",
                hint=f"did you mean {near[0]!r}?" if near else "provider.create: true makes it, empty",
            )
        return found


def group_named(there: Sequence[Group], name: str) -> Group | None:
    """The one of this name or id. Refused where several have the name."""
    found = [group for group in there if name in (group.name, group.id)]
    if len(found) > 1:
        ids = ", ".join(group.id for group in found)
        raise Refused(f"{len(found)} participant groups are called {name}", why=ids, hint="name it by its id")
    return found[0] if found else None


def _own(admission: Admission) -> Iterator[tuple[str, set[WorkerId]]]:
    """Our groups, by the ends of their names, and who is to be in them. There is always one to block: whoever is blocked later
    must not need a filter that cannot be added any more. Whose name can be no id of Prolific's does not come from there."""
    yield "blocked", set(filter(is_id, admission.blocked))
    if admission.allowed is not None:
        yield "allowed", set(filter(is_id, admission.allowed))


def _check(filters: Sequence[Mapping[str, Any]], known: Collection[str]) -> None:
    """A name that the account does not know is told before the study is made."""
    for given in filters:
        name = str(given.get("filter_id"))
        if name not in known and name not in ("and", "or"):
            near = get_close_matches(name, known, 1)
            raise Refused(
                f"the account has no filter {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else "provider.filters",
            )
