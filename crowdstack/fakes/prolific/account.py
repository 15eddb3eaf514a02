"""Workspaces, projects, test participants: what the researcher keeps around studies."""

from __future__ import annotations

from typing import Any

from crowdstack.fakes.prolific.records import Group, Person, Project, Workspace
from crowdstack.fakes.prolific.refusal import Refusal, invalid, unknown
from crowdstack.fakes.prolific.shape import Check, anything, choice, number, optional, read, text, words
from crowdstack.fakes.prolific.world import World

CURRENCIES = ("GBP", "USD")


def create_workspace(world: World, body: Any) -> Workspace:
    """Empty of money."""
    fields: dict[str, Check] = {
        "title": words, "naivety_distribution_rate": optional(number(0, 1)), "currency_code": choice(*CURRENCIES),
    }  # fmt: skip
    asked = read(body, fields, ["title"])
    workspace = Workspace(
        id=world.new_id(), title=asked["title"], currency=asked.get("currency_code", "GBP"),
        naivety=asked.get("naivety_distribution_rate"),
    )  # fmt: skip
    world.workspaces[workspace.id] = workspace
    world.effect("create_workspace", workspace.id, key=workspace.title)
    return workspace


def patch_workspace(world: World, workspace: Workspace, body: Any) -> Workspace:
    fields: dict[str, Check] = {
        "title": words,
        "description": text,
        "naivety_distribution_rate": optional(number(0, 1)),
    }
    asked = read(body, fields)
    workspace.title = asked.get("title", workspace.title)
    workspace.description = asked.get("description", workspace.description)
    workspace.naivety = asked.get("naivety_distribution_rate", workspace.naivety)
    world.effect("patch_workspace", workspace.id, key=workspace.title)
    return workspace


def create_project(world: World, workspace: Workspace, body: Any) -> Project:
    fields: dict[str, Check] = {
        "title": words, "description": text, "naivety_distribution_rate": optional(number(0, 1)),
        "type": choice("PRIVATE", "PUBLIC"), "public_details": optional(anything),
        "longitudinal": optional(anything),
    }  # fmt: skip
    fields["is_longitudinal"] = lambda value: None if value is False else "This workspace has no longitudinal projects."
    asked = read(body, fields, ["title"])
    project = Project(
        id=world.new_id(), workspace=workspace.id, title=asked["title"], description=asked.get("description", ""),
        naivety=asked.get("naivety_distribution_rate"),
    )  # fmt: skip
    world.projects[project.id] = project
    world.effect("create_project", project.id, key=project.title)
    return project


def patch_project(world: World, project: Project, body: Any) -> Project:
    asked = read(body, {"title": words, "description": text})
    project.title = asked.get("title", project.title)
    project.description = asked.get("description", project.description)
    world.effect("patch_project", project.id, key=project.title)
    return project


def create_tester(world: World, body: Any) -> Person:
    """A test participant; the address must be new."""
    asked = read(body, {"email": words}, ["email"])
    if "@" not in asked["email"] or any(person.email == asked["email"] for person in world.people.values()):
        raise invalid({"email": ["A new e-mail address is required."]})
    if "test-study" not in world.settings.features:
        raise Refusal(403, "Forbidden", "This workspace has no test participants.")
    person = Person(id=world.new_id(), email=asked["email"], test=True)
    world.people[person.id] = person
    world.effect("create_test_participant", person.id, key=person.email)
    return person


def groups_of(world: World, kind: str, key: str) -> list[Group]:
    """Participant groups of a workspace or a project; there are no organisations here."""
    if kind == "workspace_id":
        workspace = world.workspace(key)
        return [group for group in world.groups.values() if group.workspace == workspace.id]
    if kind == "project_id":
        project = world.project(key)
        return [group for group in world.groups.values() if group.project == project.id]
    raise unknown("organisation", key)
