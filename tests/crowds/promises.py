"""The promises about money and people, as checks of a world. Each is called after every tick and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus
from crowdstack.model import Money, WorkerId, visit_of
from tests.contracts.store import TASK
from tests.crowds.parts import hold
from tests.crowds.world import REWARD, World

Check = Callable[[World], None]
_P = SubmissionStatus


def ended(world: World) -> bool:
    """The world is at rest and everything was heard of."""
    return world.over and hasattr(world, "by_itself")


def i1_the_exposure_never_passes_the_budget(world: World) -> None:
    if world.desired.budget is not None and world.abandoned_at is None and not world.decided_by_hand:
        exposure = world.store.exposure(TASK, "USD")
        hold(exposure <= world.desired.budget, "I1", f"{exposure} of {world.desired.budget}")


def i2_what_is_spent_was_always_allowed_for(world: World) -> None:
    allowed = world.store.exposure(TASK, "USD") if world.abandoned_at is None else world.left_at
    hold(world.spent() <= allowed, "I2", f"{world.spent()} of {allowed}")


def i2_what_a_visit_may_be_topped_up_by_is_reserved(world: World) -> None:
    """Of every place and every paid visit; what was fixed once it was."""
    if world.terms.top_up is None or world.abandoned_at is not None:
        return
    promised, lines = world.promised, world.fake.wallet_lines()
    each = world.gross(world.terms.top_up if promised is None else promised.net.minor)
    paid = [line for line in lines if line.purpose == "reward"]
    topped = [line for line in lines if line.purpose == "bonus" and line.amount <= world.terms.top_up]
    closed = world.store.intent(world.run.id, f"close:{world.study}") is not None
    there = [study for study in world.published() if not study.deleted]  # nobody comes to one that was
    listed = [study.places for study in there if study.status is StudyStatus.ACTIVE and not closed]
    free = sum(listed) - len(paid) if listed else 0
    owed = world.gross(REWARD) * max(0, free) + each * (max(0, free) + len(paid) - len(topped))
    exposure = world.store.exposure(TASK, "USD")
    hold(world.spent() + owed <= exposure, "I2", f"{world.spent()} and {owed} of {exposure}")


def i3_at_rest_ledger_and_wallet_agree(world: World) -> None:
    if not ended(world):
        return
    ours = Counter(ledger(world))
    theirs: Counter[tuple[str, str, int]] = Counter(
        (visit_of(world.study, _worker(world, line.submission), line.submission), line.purpose, line.total)
        for line in world.fake.wallet_lines()
    )
    unclear = unclear_for_good(world, theirs - ours)
    hold(ours == theirs - unclear, "I3", f"only ours {ours - theirs}, only theirs {theirs - ours}")
    open_minor = sum(total * times for (_, _, total), times in unclear.items())
    hold(world.store.paid(TASK, "USD") + Money(open_minor, "USD") == world.spent(), "I3", world.spent())


def unclear_for_good(world: World, unknown: Counter[tuple[str, str, int]]) -> Counter[tuple[str, str, int]]:
    """Of these payments, those that got no answer before the study was deleted on the site: it shows nothing any more, so
    their intents stay open and their amounts promised."""
    waiting = {intent.body.get("visit") for intent in world.store.open_intents(world.run.id)}
    gone = any(study.deleted for study in world.published())
    return Counter({line: times for line, times in unknown.items() if gone and line[0] in waiting})


def ledger(world: World) -> list[tuple[str, str, int]]:
    """(visit, kind of purpose, minor units) of each line."""
    with world.store._database.reading() as db:
        found = db.execute_sql("SELECT visit, purpose, minor FROM payment ORDER BY id").fetchall()
    return [(visit, purpose.partition(":")[0], minor) for visit, purpose, minor in found]


def _worker(world: World, submission: str) -> WorkerId:
    return WorkerId(world.fake.world.submissions[submission].participant)


def i4_nobody_is_paid_twice_for_one_thing(world: World) -> None:
    paid = Counter(
        (line.submission, line.purpose, line.amount if line.purpose == "bonus" else 0)
        for line in world.fake.wallet_lines()
    )
    hold(all(times == 1 for times in paid.values()), "I4", paid)


def i5_one_study_is_published(world: World) -> None:
    hold(len(world.published()) <= 1, "I5", [study.id for study in world.published()])


def i6_an_unclear_payment_is_not_sent_again(world: World) -> None:
    sent = Counter(world.pays)
    hold(all(times == 1 for times in sent.values()), "I6", sent)


def i7_places_are_totals_that_never_fall(world: World) -> None:
    for study in world.published():
        listed = [effect.amount or 0 for effect in world.fake.effects() if effect.verb == "places" and effect.subject == study.id]  # fmt: skip
        hold(listed == sorted(listed), "I7", listed)
        if not study.deleted:  # of one that is gone nobody will be charged, and nothing more is written down
            hold(study.places <= world.store.places(world.study), "I7", study.places)


def i8_nobody_is_paid_for_made_up_ids(world: World) -> None:
    refuted = {visit_of(world.study, WorkerId(worker), session) for worker, session in world.forged}
    with world.store._database.reading() as db:
        done = db.execute_sql(
            "SELECT body ->> 'submission', body ->> 'worker', body ->> 'visit' FROM intent "
            "WHERE kind IN ('approve', 'bonus', 'top_up') AND state = 'done'"
        ).fetchall()
    for submission, worker, visit in done:
        found = world.fake.world.submissions.get(submission)
        hold(found is not None and found.participant == worker, "I8", (submission, worker))
        hold(visit not in refuted, "I8", (submission, worker))


def i9_places_stay_within_target_and_surplus(world: World) -> None:
    listed = max((study.places for study in world.published()), default=0)
    asked = world.store.places(world.study)
    hold(listed <= world.most_places, "I9", f"{listed} listed, {world.most_places} at most")
    hold(asked <= world.most_places, "I9", f"{asked} asked for, {world.most_places} at most")


def i10_nobody_pays_more_than_the_preview_said(world: World) -> None:
    """But what the operator ordered on top."""
    lines = world.fake.wallet_lines()
    promised = sum(line.total for line in lines if line.purpose != "bonus" or line.amount <= (world.terms.top_up or 0))
    hold(promised <= world.cap.minor, "I10", f"{promised} of {world.cap}")


def i11_what_is_paid_is_what_was_ordered(world: World) -> None:
    for line in world.fake.wallet_lines():
        if line.purpose == "bonus":
            by_us = world.promised is not None and line.amount == world.promised.net.minor
            hold(by_us or (line.submission, line.amount) in world.ordered, "I11", line)


def i12_nobody_is_forgotten(world: World) -> None:
    if not ended(world):
        return
    owed = {visit.submission for visit in world.store.ended_visits(world.run.id, 1000, handed_in=True)}
    shown = {visit.submission for visit in world.store.without_answers(world.run.id, 1000)}
    paid = {visit for visit, purpose, _ in ledger(world) if purpose == "reward"}
    answers: dict[str, list[str]] = {}
    for row in world.store.submissions(TASK):
        answers.setdefault(row.visit, []).append(row.status.value)
    journal = {intent.key for intent in world.store.journal(world.run.id)}
    for found in world.fake.world.submissions.values():
        if world.fake.world.studies[found.study].deleted:
            continue  # on the site: it tells nothing any more
        visit = visit_of(world.study, WorkerId(found.participant), found.id)
        given = answers.get(visit, [])
        match found.status:
            case _P.APPROVED:
                hold(visit in paid, "I12", f"{found} was paid and is not in the ledger")
            case _P.AWAITING_REVIEW:
                hold(found.id in owed | shown, "I12", f"{found} is not shown")
                hold(not (given and world.by_itself), "I12", f"{found} handed in {given}, and the run ended")
            case _P.REJECTED:
                by_us = f"reject:{visit}" in journal
                hold(by_us or found.id in world.decided_by_hand, "I12", f"{found} was rejected by nobody")
            case _:
                hold(set(given) <= {"void", "rejected", "excluded"}, "I12", f"{found} has {given}")


def i12_whoever_was_paid_is_topped_up(world: World) -> None:
    """By the same. An order that was lost on its way is never sent again; none is sent where another sum
    would be read."""
    promised = world.promised
    if not ended(world) or any(study.deleted for study in world.published()):
        return
    sums = {line.amount for line in world.fake.wallet_lines() if line.purpose == "bonus" and line.amount <= 100}
    hold(sums <= ({promised.net.minor} if promised is not None else set()), "I12", sums)
    if promised is not None and promised.net.minor and world.terms.understood == 1:
        owed = [visit for visit in world.store.untopped(world.run.id, 1000) if not visit.sent]
        hold(not owed, "I12", owed)


def i13_a_run_that_ends_by_itself_has_what_it_was_for(world: World) -> None:
    if not ended(world):
        return
    counts = world.store.unit_counts(world.run.id)
    hold(counts == world.store.recount(world.run.id), "I13", counts)
    if world.by_itself:
        hold(world.was_met, "I13", counts)


PROMISES: tuple[Check, ...] = (
    i1_the_exposure_never_passes_the_budget,
    i2_what_is_spent_was_always_allowed_for,
    i2_what_a_visit_may_be_topped_up_by_is_reserved,
    i3_at_rest_ledger_and_wallet_agree,
    i4_nobody_is_paid_twice_for_one_thing,
    i5_one_study_is_published,
    i6_an_unclear_payment_is_not_sent_again,
    i7_places_are_totals_that_never_fall,
    i8_nobody_is_paid_for_made_up_ids,
    i9_places_stay_within_target_and_surplus,
    i10_nobody_pays_more_than_the_preview_said,
    i11_what_is_paid_is_what_was_ordered,
    i12_nobody_is_forgotten,
    i12_whoever_was_paid_is_topped_up,
    i13_a_run_that_ends_by_itself_has_what_it_was_for,
)
