"""Participant groups: live lists that published studies follow at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crowdstack.fakes.prolific.records import Group
from crowdstack.fakes.prolific.refusal import invalid, unknown
from crowdstack.fakes.prolific.shape import Check, many, read, text, words
from crowdstack.fakes.prolific.world import World


def find(world: World, key: str) -> Group:
    found = world.groups.get(key)
    if found is None or found.deleted:
        raise unknown("participant group", key)
    world.workspace(found.workspace)
    return found


def create(world: World, body: Any) -> Group:
    fields: dict[str, Check] = {
        "name": words, "description": text, "workspace_id": words, "project_id": words, "participant_ids": many(words),
    }  # fmt: skip
    asked = read(body, fields, ["name"])
    if ("workspace_id" in asked) == ("project_id" in asked):
        raise invalid({"workspace_id": ["One of workspace_id and project_id is required."]})
    project = world.project(asked["project_id"]) if "project_id" in asked else None
    workspace = world.workspace(project.workspace if project else asked["workspace_id"])
    # The name of a deleted group stays taken.
    if any(group.name == asked["name"] and group.workspace == workspace.id for group in world.groups.values()):
        raise invalid({"name": ["A participant group with this name already exists."]})
    group = Group(
        id=world.new_id(), name=asked["name"], workspace=workspace.id, project=project.id if project else None,
        description=asked.get("description", ""), members=dict.fromkeys(asked.get("participant_ids", []), world.now),
    )  # fmt: skip
    world.groups[group.id] = group
    world.effect("create_group", group.id, key=group.name)
    return group


def patch(world: World, group: Group, body: Any) -> Group:
    """`participant_ids` takes the place of all who were in it."""
    asked = read(body, {"name": words, "participant_ids": many(words)})
    group.name = asked.get("name", group.name)
    if "participant_ids" in asked:
        group.members = {key: group.members.get(key, world.now) for key in asked["participant_ids"]}
    world.effect("patch_group", group.id, key=group.name)
    return group


def delete(world: World, group: Group) -> None:
    group.deleted = True
    world.effect("delete_group", group.id, key=group.name)


def change(world: World, group: Group, body: Any, *, joins: bool) -> Group:
    asked = read(body, {"participant_ids": many(words)}, ["participant_ids"])
    (add if joins else remove)(world, group, asked["participant_ids"])
    return group


def add(world: World, group: Group, people: Sequence[str]) -> None:
    """Twice is harmless."""
    new = [key for key in people if key not in group.members]
    if new:
        group.members = group.members | dict.fromkeys(new, world.now)
        world.effect("group_add", group.id, amount=len(new), key=group.name)


def remove(world: World, group: Group, people: Sequence[str]) -> None:
    gone = [key for key in people if key in group.members]
    if gone:
        group.members = {key: since for key, since in group.members.items() if key not in gone}
        world.effect("group_remove", group.id, amount=len(gone), key=group.name)
