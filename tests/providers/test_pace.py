"""How often a provider is asked."""

from __future__ import annotations

from crowdstack.providers.pace import Paced


class Desk:
    """Somebody who is asked, and a clock."""

    def __init__(self, *, first_s: float = 5, longest_s: float = 60) -> None:
        self.time, self.answer, self.asked = 0.0, 0, 0
        self.paced = Paced(self._ask, lambda: self.time, first_s=first_s, longest_s=longest_s)

    def _ask(self) -> int:
        self.asked += 1
        return self.answer

    def within(self, seconds: int) -> int:
        """How often it is asked, looked at once a second."""
        before = self.asked
        for _ in range(seconds):
            self.paced()
            self.time += 1
        return self.asked - before


def test_who_says_the_same_is_asked_ever_more_rarely() -> None:
    desk = Desk()
    assert desk.within(60) == 5
    desk.within(540)
    assert desk.within(600) == 10


def test_what_changed_is_soon_asked_again() -> None:
    desk = Desk()
    desk.within(600)
    desk.answer = 1
    desk.within(60)
    assert desk.within(10) == 1


def test_a_long_answer_is_asked_for_more_rarely_also_after_a_hint() -> None:
    desk = Desk()
    desk.paced()
    desk.paced.first_s = 20
    desk.paced.hint()
    assert desk.within(60) == 2
