"""Whatever is sent, the fake answers in the service's words and keeps its books: it never breaks."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.fakes.prolific import router
from tests.fakes.lab import CODE, DRAFT, HOST, LONG, Lab
from tests.size import FULL

SCALARS = st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.text(max_size=12)
NONSENSE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
BODIES: dict[str, dict[str, Any]] = {
    "/studies/": DRAFT | {"filters": [{"filter_id": "age", "selected_range": {"lower": 1}}], "access_details": [], "publish_at": ""},
    "/studies/{id}/": DRAFT | {"access_details": [{"external_url": "https://a.example", "total_allocation": 3}]},
    "/studies/{id}/transition/": {"action": "SCHEDULE_PUBLISH", "publish_at": "2027-01-01T00:00:00Z"},
    "/submissions/{id}/transition/": {
        "action": "REJECT", "message": LONG, "rejection_category": "OTHER", "completion_code": CODE, "completion_code_data": {"percentage_of_reward": 50},
    },
    "/submissions/bonus-payments/": {"study_id": "s", "csv_bonuses": "anna,1.00"},
    "/submissions/bulk-approve/": {"submission_ids": ["s"], "study_id": "s", "participant_ids": ["anna"]},
    "/participant-groups/": {"name": "g", "workspace_id": "w", "participant_ids": ["anna"]},
    "/hooks/subscriptions/": {"workspace_id": "w", "event_type": "study.status.change", "target_url": "https://a.example"},
    "/messages/bulk/": {"ids": ["anna"], "body": "x", "study_id": "s"},
}  # fmt: skip
FIELDS = sorted(
    {name for body in BODIES.values() for name in body} | {"name", "title", "filters", "email", "secret", "reward"}
)


@settings(max_examples=2000 if FULL else 300, deadline=None)
@given(st.data())
def test_nonsense_is_answered(data: st.DataObject) -> None:
    lab = Lab()
    study = lab.live() if data.draw(st.booleans()) else lab.draft()
    submission = lab.begun(study) if lab.status(study) == "ACTIVE" else "none"
    route = data.draw(st.sampled_from(sorted(router.ROUTES, key=lambda each: (each.template, each.method))))
    key = {"studies": study, "submissions": submission, "workspaces": lab.fake.workspace.id}.get(
        route.template.split("/")[3], "none"
    )
    path = (
        route.template.replace("{id}", key)
        .replace("{workspace_id}", key)
        .replace("{project_id}", lab.fake.world.studies[study].project)
    )
    body: Any = None
    if route.body:
        whole = BODIES.get(route.template.removeprefix("/api/v1"), {})
        changes = data.draw(st.dictionaries(st.sampled_from(FIELDS), NONSENSE, max_size=2))
        body = data.draw(st.just(whole | changes) | NONSENSE)
    query = data.draw(st.dictionaries(st.sampled_from(sorted(route.query) or ["x"]), st.text(max_size=8), max_size=2))
    before = len(lab.fake.effects())
    request = {"params": query, "json": body} if _is_json(body) else {"params": query, "data": repr(body)}
    answer = lab.api.session.request(route.method, f"{HOST}{path}", **request)
    assert answer.status_code < 500
    if not answer.ok:
        assert len(lab.fake.effects()) == before
    assert 0 <= lab.fake.available() <= lab.fake.balance()


def _is_json(value: Any) -> bool:
    """requests refuses to send what no JSON is."""
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return all(map(_is_json, value)) if isinstance(value, list) else True
