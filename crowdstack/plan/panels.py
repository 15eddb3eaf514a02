"""Panels: what a run tells of its provider, from the spec: to the adapter, to the task server, and the floor of the pay.

Called by `desired`, which keeps it as the run's settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crowdstack.model import Money
from crowdstack.plan.fees import PROLIFIC_FEES_BP, PROLIFIC_HOURLY, basis_points
from crowdstack.plugin import find_plugin
from crowdstack.wire.configs import Claims, Ending, Finish

if TYPE_CHECKING:  # pydantic stays out of the reconciler
    from crowdstack.plan.desired import Desired
    from crowdstack.spec import Spec

_PROLIFIC = "app.prolific.com"


def floor_of(spec: Spec) -> tuple[Money | None, Money | None]:
    """The least pay of an hour, and what is recommended."""
    provider, currency = spec.provider, spec.task.reward.currency
    if provider.type == "prolific":
        least, better = PROLIFIC_HOURLY[currency]
        return Money(least, currency), Money(better, currency)
    return (provider.minimum_per_hour if provider.type == "generic" else None), None


def review_span(desired: Desired) -> timedelta | None:
    """How long after it was handed in a visit that nobody reviewed is approved by its provider; None: never, or nobody says.
    Prolific: 21 days (researcher-help.prolific.com)."""
    return timedelta(days=21) if desired.provider.get("type") == "prolific" else None


def provider_settings(spec: Spec, minutes: int | None) -> dict[str, Any]:
    """The provider as its adapter needs it, JSON: fields of the spec under their own names, and what follows from them."""
    provider = spec.provider
    if provider.type == "mock":
        return {"type": provider.type, "wallet": None if provider.wallet is None else str(provider.wallet)}
    if provider.type == "plugin":
        managed = find_plugin(provider.name).managed
        return {"type": "plugin", "name": provider.name, "settings": dict(provider.settings), "managed": managed}
    told: dict[str, Any] = provider.model_dump(
        mode="json",
        exclude={"wave", "surplus", "fee", "fee_percent", "vat_percent", "minimum_per_hour", "completion_codes"},
    )
    told["vat_bp"] = basis_points(provider.vat_percent)
    if provider.type == "generic":
        return {**told, "fee_bp": basis_points(provider.fee_percent), "link": provider.given_link}
    longest = told.pop("maximum_allowed_time")
    return {
        **told,
        "fee_bp": PROLIFIC_FEES_BP[provider.fee],
        "currency": spec.task.reward.currency,
        "name": provider.name or spec.task.title,
        "description": provider.description or spec.task.description,
        "filters": [_filter(found) for found in told["filters"]],
        "minutes": minutes,
        "maximum_minutes": None if longest is None else longest // 60,
        "codes": _codes(spec),
    }


def _filter(value: Any) -> Any:
    """A filter without the parts that were not given."""
    if isinstance(value, Mapping):
        return {name: _filter(part) for name, part in value.items() if part is not None}
    return [_filter(part) for part in value] if isinstance(value, list) else value


def _codes(spec: Spec) -> dict[str, str]:
    """Prolific's completion codes: the spec's, or our own. Nothing is paid for a code alone, so ours need not be secret;
    they are the same in each run of the task, so that preview and run agree on them."""
    assert spec.provider.type == "prolific"
    given = spec.provider.completion_codes
    own = {
        end: hashlib.sha256(f"crowdstack\0{spec.name}\0{end}".encode()).hexdigest()[:10].upper()
        for end in ("done", "nothing")
    }
    return {"done": given.done or own["done"], "nothing": given.nothing or own["nothing"]}


def claims_of(spec: Spec) -> Claims | None:
    """The parameters of the page's address that say who came; None where links are made for one worker each."""
    provider = spec.provider
    if provider.type == "prolific":
        return Claims(worker="PROLIFIC_PID", submission="SESSION_ID")
    if provider.type == "plugin":
        plugin = find_plugin(provider.name)
        return replace(plugin.claims(provider.settings), listed=plugin.managed)
    if provider.type == "generic":
        return Claims(worker=provider.worker_parameter, submission=provider.visit_parameter, listed=False)
    return None


def finish_of(spec: Spec) -> Finish | None:
    """How people get back to where they came from."""
    provider = spec.provider
    if provider.type == "prolific":
        done, nothing = _codes(spec).values()
        return Finish(answered=_at_prolific(done), empty=_at_prolific(nothing), hosts=(_PROLIFIC,))
    if provider.type == "plugin":
        return find_plugin(provider.name).finish(provider.settings)
    if provider.type == "generic":
        ends = [
            (end.code or "", (end.url or "").replace("{visit}", "{submission}")) if end else ("", "")
            for end in (provider.finish, provider.nothing)
        ]
        answered, empty = (Ending(code=code, url=url) for code, url in ends)
        hosts = dict.fromkeys(urlsplit(url).netloc for _, url in ends if url)
        return Finish(answered=answered, empty=empty, hosts=tuple(hosts))
    return None


def _at_prolific(code: str) -> Ending:
    return Ending(code=code, url=f"https://{_PROLIFIC}/submissions/complete?cc={code}")
