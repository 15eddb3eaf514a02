"""Worlds in which a promise is broken, one for each: the checks must find them within few seeds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import ListedState, Money, StudyKey
from crowdstack.providers.prolific.answers import Bonus, StudyStatus
from crowdstack.providers.prolific.api import Prolific, StudyMove
from crowdstack.providers.prolific.money import bonus_csv
from crowdstack.providers.prolific.provider import ProlificProvider
from tests.crowds.parts import Copyless, Reconciler
from tests.crowds.people import Conduct
from tests.crowds.terms import Terms
from tests.crowds.world import World


class _Calm(World):
    """Nothing disturbs the run, so that what is planted is what shows."""

    def draw_terms(self) -> Terms:
        drawn = super().draw_terms()
        return replace(
            drawn, hand=None, operator=None, abandoned=None, wallet=1000, budget=None, surplus=30, keep=False, people=4000,
            verdicts=(1.0, 0.0, 0.0), faults={}, mortal=0.0, understood=1.0, seconds=0,
        )  # fmt: skip


class _Deaf(Reconciler):
    def _look(self, now: float) -> Any:
        run, desired, observed = super()._look(now)
        return run, replace(desired, budget=None), observed


class Unbudgeted(_Calm):
    """I1: neither the rules nor the store are told of the budget."""

    reconciler_class = _Deaf

    def draw_terms(self) -> Terms:
        drawn = super().draw_terms()
        return replace(drawn, budget=max(1, drawn.units * drawn.repeats // drawn.per_visit // 2))


class _Net(ProlificProvider):
    def gross(self, reward: Money) -> Money:
        return reward


class WithoutFees(_Calm):
    """I2: an adapter that forgets what the provider takes on top."""

    provider_class = _Net


class _MixesUp(ProlificProvider):
    def approve(self, key: Any, visit: Any, worker: Any, submission: Any = None) -> None:
        self.reject(key, visit, worker, "mixed up", submission)


class BookedUnpaid(_Calm):
    """I3: what was booked as paid, the provider did not pay."""

    provider_class = _MixesUp

    def check_intents(self) -> None: ...


class _PaysAgain(ProlificProvider):
    def pay_bonus(self, key: Any, visit: Any, worker: Any, submission: Any, *, payment: str, net: Money) -> None:
        found = self._verified(key, visit, worker, submission)
        self._api.pay_bonus(self._api.create_bonus(found.study, {found.id: net}, booked=self.gross(net)).id)


class PaidAgain(_Calm):
    """I4, I6: a bonus whose payment got no answer is sent again."""

    provider_class = _PaysAgain

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), bonuses=3, faults={"5xx_after": 0.3}, faults_end=3000.0)


class ToppedUpTwice(PaidAgain):
    """I4: a top-up whose payment got no answer is sent again."""

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), bonuses=0, top_up=40)


class _Unreserving(Reconciler):
    def _look(self, now: float) -> Any:
        run, desired, observed = super()._look(now)
        return run, desired, replace(observed, reserve=None)


class TopUpNotReserved(_Calm):
    """I2: places are listed at their price, and that they may be topped up is seen when it is due."""

    reconciler_class = _Unreserving

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), top_up=40)


class _Forgets(ProlificProvider):
    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Any:
        notes = self._notes(key)
        id_ = notes.get("study") or self._create(key, places, reward, title)
        self._api.move_study(id_, StudyMove.PUBLISH)
        notes.put("study", id_)
        return self._study(key, self._look_again(key))


class PublishedUnnoted(_Calm):
    """I5: the id of the draft is noted after it was published."""

    provider_class = _Forgets

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), faults={"5xx_after": 0.3}, mortal=0.9)


class _Eager(ProlificProvider):
    def fetch_study(self, key: StudyKey) -> Any:
        found = self._look(key)
        if found is not None and found.status is StudyStatus.PAUSED:
            self._api.move_study(found.id, StudyMove.START)
        return super().fetch_study(key)


class StartedUnasked(_Calm):
    """I5: an adapter that decides for itself."""

    provider_class = _Eager


class _Adds(ProlificProvider):
    def raise_places(self, key: StudyKey, to: int) -> Any:
        return super().raise_places(key, to + self._known(key).places)


class PlacesAdded(_Calm):
    """I7: a total taken for an increment."""

    provider_class = _Adds

    def check_intents(self) -> None: ...

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), wave=1)


class _Believes(ProlificProvider):
    def _verified(self, key: Any, visit: Any, worker: Any, submission: Any) -> Any:
        try:
            return self._api.fetch_submission(submission)
        except Refused as fault:
            raise Refused("not there") from fault


class _Credulous(Copyless):
    def ended_visits(self, run: Any, limit: int, *, judged: bool = False, handed_in: bool = False) -> Any:
        return self._store.ended_visits(run, limit, judged=judged)


class Unverified(_Calm):
    """I8: whoever gave answers is paid, with the ids that the page's address had."""

    provider_class = _Believes

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), conduct=Conduct(forged=0.5))

    def seen_store(self) -> Any:
        return _Credulous(self.store)


class _Spirals(Reconciler):
    def _look(self, now: float) -> Any:
        run, desired, observed = super()._look(now)
        gone = observed.visits.empty + observed.visits.rejected
        visits = replace(observed.visits, paid=observed.visits.paid + gone)
        return run, replace(desired, surplus_least=10**6), replace(observed, visits=visits)


class Spiral(_Calm):
    """I9: one more place for whoever returns or times out, whom the provider replaces by itself."""

    reconciler_class = _Spirals

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), surplus=0, conduct=Conduct(returns=0.5))


class _Dear(ProlificProvider):
    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Any:
        return super().open_study(key, places=places, reward=reward * 100, title=title)


class HundredTimesThePrice(_Calm):
    """I10: cents taken for dollars."""

    provider_class = _Dear

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), wallet=10_000)


class _Trusting(Prolific):
    def create_bonus(self, study: str, amounts: Mapping[str, Money], *, booked: Money) -> Bonus:
        body = {"study_id": study, "csv_bonuses": bonus_csv(amounts, self.currency)}
        answer = self.http.write("create_bonus", "POST", "/submissions/bonus-payments/", body)
        return Bonus(id=answer.value["id"], amount=booked, total=booked)


class Misunderstood(_Calm):
    """I11: a bonus is paid although the provider has read another sum."""

    api_class = _Trusting

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), bonuses=3, understood=100.0)


class _Lockless(Copyless):
    def reconciler_lock(self, run: Any) -> AbstractContextManager[None]:
        return nullcontext()


class TwoReconcilers(_Calm):
    """I14: nothing keeps a second reconciler from one store."""

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), seconds=10)

    def seen_store(self) -> Any:
        return _Lockless(self.store)


class _Overlooks(Copyless):
    def listed_counts(self, run: Any) -> Mapping[ListedState, int]:
        found = dict(self._store.listed_counts(run))
        units = self._store.unit_counts(run)
        if units.submitted + units.approved == units.total:
            found.pop(ListedState.AWAITING, None)
        return found


class Forgotten(_Calm):
    """I12: once there is enough, nobody sees those who wait for review."""

    def seen_store(self) -> Any:
        return _Overlooks(self.store)


class _Lazy(ProlificProvider):
    def raise_places(self, key: StudyKey, to: int) -> Any:
        return self.fetch_study(key)


class NeverEnds(_Calm):
    """I13: more places are asked for, and never listed."""

    provider_class = _Lazy

    def draw_terms(self) -> Terms:
        return replace(super().draw_terms(), wave=1)
