"""Bulk bonus payments: a CSV of decimal major units makes one, `pay` pays it; `pay` twice pays twice."""

from __future__ import annotations

import re
from typing import Any

from crowdstack.fakes.prolific import wallet
from crowdstack.fakes.prolific.records import Bulk
from crowdstack.fakes.prolific.refusal import invalid, unknown
from crowdstack.fakes.prolific.shape import read, text, words
from crowdstack.fakes.prolific.world import World

_AMOUNT = re.compile(r"(\d{1,7})(?:\.(\d{1,2}))?")
LIMIT = 200


def create(world: World, body: Any) -> Bulk:
    """One line of a participant or submission that took no part refuses the whole."""
    asked = read(body, {"study_id": words, "csv_bonuses": text}, ["study_id", "csv_bonuses"])
    study = world.study(asked["study_id"])
    known = {submission.id: submission.id for submission in world.of_study(study) if submission.started_at is not None}
    known |= {world.submissions[key].participant: key for key in known}
    lines, wrong = [], []
    for line in filter(None, (line.strip() for line in asked["csv_bonuses"].splitlines())):
        who, _, amount = (part.strip() for part in line.partition(","))
        match = _AMOUNT.fullmatch(amount)
        minor = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else 0
        if who not in known:
            wrong.append(f"{who} took no part in this study.")
        elif not minor:
            wrong.append(f"{amount!r} is not an amount.")
        else:
            lines.append((known[who], minor))
    if wrong or not 0 < len(lines) <= LIMIT:
        raise invalid({"csv_bonuses": wrong or [f"Between 1 and {LIMIT} lines are asked for."]})
    bulk = Bulk(id=world.new_id(), study=study.id, lines=tuple(lines))
    world.bulks[bulk.id] = bulk
    world.effect("create_bonus", bulk.id, amount=cost(world, bulk).amount, key=study.key)
    return bulk


def cost(world: World, bulk: Bulk) -> wallet.Price:
    total = wallet.NOTHING
    for _, amount in bulk.lines:
        total = total.plus(wallet.price(world.settings, amount))
    return total


def pay(world: World, key: str) -> None:
    """Queued: the money moves later. There is no guard against a second time."""
    bulk = world.bulks.get(key)
    if bulk is None:
        raise unknown("bulk bonus payment", key)
    workspace = world.workspaces[world.studies[bulk.study].workspace]
    wallet.require(world, workspace, cost(world, bulk).total)
    bulk.pays += 1
    world.effect("pay_bonus", bulk.id, amount=cost(world, bulk).amount, key=world.studies[bulk.study].key)
    world.later(world.settings.pay_lag_s, "bonus due", bulk.id)


def when_due(world: World, key: str, args: dict[str, Any]) -> None:
    """Whole or not at all: when the money went elsewhere meanwhile, nothing is paid and nobody is told."""
    bulk = world.bulks[key]
    study = world.studies[bulk.study]
    if cost(world, bulk).total > wallet.available(world, world.workspaces[study.workspace]):
        world.effect("bonus_failed", bulk.id, key=study.key)
        return
    for submission_id, amount in bulk.lines:
        submission = world.submissions[submission_id]
        wallet.pay(world, study, submission, "bonus", amount, source=bulk.id)
        submission.bonuses = (*submission.bonuses, amount)
    world.effect("bonus_paid", bulk.id, amount=cost(world, bulk).amount, key=study.key)
