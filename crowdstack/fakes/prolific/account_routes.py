"""Routes of accounts: user, workspaces, projects, participant groups, filters."""

from __future__ import annotations

from crowdstack.fakes.prolific import account, filters, groups, pages, studies, views
from crowdstack.fakes.prolific.refusal import Refusal, invalid
from crowdstack.fakes.prolific.router import Answer, Call, flag, needed, route
from crowdstack.fakes.prolific.shape import anything, read

# ------------------------------------------------------------------------------------------------ account


@route("GET", "/users/me/")
def get_users_me(call: Call) -> Answer:
    return Answer(200, views.me(call.world))


@route("POST", "/researchers/participants/", body=True)
def post_researchers_participants(call: Call) -> Answer:
    return Answer(201, {"participant_id": account.create_tester(call.world, call.body).id})


@route("GET", "/workspaces/", "limit", "offset")
def get_workspaces(call: Call) -> Answer:
    mine = [views.workspace(found) for found in call.world.workspaces.values() if not found.foreign]
    return Answer(200, pages.offset(mine, call.url, call.query))


@route("POST", "/workspaces/", body=True)
def post_workspaces(call: Call) -> Answer:
    return Answer(201, views.workspace(account.create_workspace(call.world, call.body)))


@route("GET", "/workspaces/{workspace_id}/")
def get_workspaces_by_id(call: Call) -> Answer:
    return Answer(200, views.workspace(call.world.workspace(call.key)))


@route("PATCH", "/workspaces/{workspace_id}/", body=True)
def patch_workspaces_by_id(call: Call) -> Answer:
    return Answer(200, views.workspace(account.patch_workspace(call.world, call.world.workspace(call.key), call.body)))


@route("GET", "/workspaces/{workspace_id}/balance/")
def get_workspaces_balance(call: Call) -> Answer:
    return Answer(200, views.balance(call.world, call.world.workspace(call.key)))


@route("GET", "/workspaces/{workspace_id}/projects/", "limit", "offset")
def get_workspaces_projects(call: Call) -> Answer:
    workspace = call.world.workspace(call.key)
    found = [views.project(each) for each in call.world.projects.values() if each.workspace == workspace.id]
    return Answer(200, pages.offset(found, call.url, call.query))


@route("POST", "/workspaces/{workspace_id}/projects/", body=True)
def post_workspaces_projects(call: Call) -> Answer:
    return Answer(201, views.project(account.create_project(call.world, call.world.workspace(call.key), call.body)))


@route("GET", "/projects/{project_id}/")
def get_projects_by_id(call: Call) -> Answer:
    return Answer(200, views.project(call.world.project(call.key)))


@route("PATCH", "/projects/{project_id}/", body=True)
def patch_projects_by_id(call: Call) -> Answer:
    return Answer(200, views.project(account.patch_project(call.world, call.world.project(call.key), call.body)))


@route("GET", "/projects/{project_id}/studies/", "page", "page_size", "ordering", bare=True)
def get_projects_studies(call: Call) -> Answer:
    project = call.world.project(call.key)
    found = [each for each in call.world.studies.values() if each.project == project.id and not each.deleted]
    ordering = call.query.get("ordering", "-date_created")
    if ordering not in ("date_created", "-date_created"):
        raise invalid({"ordering": ["Use date_created or -date_created."]})
    found = found[::-1] if ordering.startswith("-") else found
    return Answer(200, pages.numbered([views.study_short(call.world, each) for each in found], call.url, call.query))


@route("DELETE", "/projects/{project_id}/studies/{study_id}/", bare=True)
def delete_projects_studies_by_id(call: Call) -> Answer:
    study = call.world.study(call.second)
    if study.project != call.world.project(call.key).id:
        raise Refusal(404, "Not found", f"No study {study.id} is in this project.")
    studies.delete(call.world, study)
    return Answer(204)


# ------------------------------------------------------------------------------------------------ groups, filters


@route("GET", "/participant-groups/", "workspace_id", "project_id", "organisation_id", "active", "limit", "offset")
def get_participant_groups(call: Call) -> Answer:
    named = [name for name in ("workspace_id", "project_id", "organisation_id") if name in call.query]
    if len(named) != 1:
        raise invalid("Send one of workspace_id, project_id and organisation_id.")
    active = flag(call, "active")
    found = account.groups_of(call.world, named[0], call.query[named[0]])
    shown = [views.group(group) for group in found if active is None or group.deleted is not active]
    return Answer(200, pages.offset(shown, call.url, call.query))


@route("POST", "/participant-groups/", body=True)
def post_participant_groups(call: Call) -> Answer:
    return Answer(201, views.group(groups.create(call.world, call.body)))


@route("GET", "/participant-groups/{id}/")
def get_participant_groups_by_id(call: Call) -> Answer:
    return Answer(200, views.group(groups.find(call.world, call.key)))


@route("PATCH", "/participant-groups/{id}/", body=True)
def patch_participant_groups_by_id(call: Call) -> Answer:
    return Answer(200, views.group(groups.patch(call.world, groups.find(call.world, call.key), call.body)))


@route("DELETE", "/participant-groups/{id}/")
def delete_participant_groups_by_id(call: Call) -> Answer:
    groups.delete(call.world, groups.find(call.world, call.key))
    return Answer(204)


@route("GET", "/participant-groups/{id}/participants/")
def get_participant_groups_participants(call: Call) -> Answer:
    return Answer(200, views.members(groups.find(call.world, call.key)))


@route("POST", "/participant-groups/{id}/participants/", body=True)
def post_participant_groups_participants(call: Call) -> Answer:
    found = groups.find(call.world, call.key)
    return Answer(200, views.members(groups.change(call.world, found, call.body, joins=True)))


@route("DELETE", "/participant-groups/{id}/participants/", body=True)
def delete_participant_groups_participants(call: Call) -> Answer:
    found = groups.find(call.world, call.key)
    return Answer(200, views.members(groups.change(call.world, found, call.body, joins=False)))


@route("GET", "/filters/", "detailed", "workspace_id", "filter_tag")
def get_filters(call: Call) -> Answer:
    return Answer(200, pages.numbered(filters.listed(bool(flag(call, "detailed"))), call.url, {"page_size": "1000"}))


@route("POST", "/eligibility-count/", body=True)
def post_eligibility_count(call: Call) -> Answer:
    """0 means fewer than 25."""
    fields = {
        "filters": lambda value: filters.faults(call.world, value),
        "workspace_id": anything,
        "organisation_id": anything,
    }
    asked = read(call.body, fields, ["filters"])
    count = sum(filters.lets_in(call.world, asked["filters"], person) for person in call.world.people.values())
    return Answer(200, {"count": count if count >= 25 else 0})


@route("GET", "/reward-recommendations/", "workspace_id", "currency", "screener_ids", bare=True)
def get_reward_recommendations(call: Call) -> Answer:
    call.world.workspace(needed(call, "workspace_id"))
    if needed(call, "currency") not in account.CURRENCIES:
        raise invalid({"currency": ["Use GBP or USD."]})
    return Answer(200, views.recommendation(call.query["currency"]))
