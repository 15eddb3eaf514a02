"""Messages to participants: sent once for each name, and never again where it is not known whether they were."""

from __future__ import annotations

import pytest

from crowdstack.errors import Busy, Refused, Unclear
from tests.contracts.provider import ANN, BOB, KEY
from tests.providers.prolific.test_provider import Lab

TEXT = "Thank you for your careful answers."


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.open_study(lab.open())
    lab.came(ANN)
    return lab


def write(lab: Lab, message: str = "thanks", text: str = TEXT) -> None:
    """In a new life of the adapter."""
    lab.open().send_message(KEY, ANN, message=message, text=text)


def received(lab: Lab) -> list[str]:
    return [found.body for found in lab.fake.world.messages.values() if found.recipient == ANN]


def test_a_message_is_sent_once_for_each_name(lab: Lab) -> None:
    for name in ("thanks", "thanks", "again"):
        write(lab, name)
    assert received(lab) == [TEXT, TEXT]
    assert {found.study for found in lab.fake.world.messages.values()} == {lab.study()}


@pytest.mark.parametrize("fault", ["5xx_after", "drop_after", "timeout_after"])
def test_a_message_whose_answer_was_lost_is_not_sent_again(lab: Lab, fault: str) -> None:
    lab.faults.force(fault, method="POST", path="/messages/")
    with pytest.raises(Unclear):
        write(lab)
    write(lab)  # it is shown: all is well
    assert received(lab) == [TEXT]


def test_a_message_that_was_lost_on_its_way_stays_unclear_and_is_never_sent_again(lab: Lab) -> None:
    lab.faults.force("drop_before", method="POST", path="/messages/")
    for _ in range(3):
        with pytest.raises(Unclear):
            write(lab)
        lab.fake.say(ANN, lab.study(), TEXT)  # the same words from the participant are no proof
    assert received(lab) == []


def test_a_message_that_was_not_taken_is_sent_again(lab: Lab) -> None:
    lab.faults.force("429", method="POST", path="/messages/")
    with pytest.raises(Busy):
        write(lab)
    write(lab)
    assert received(lab) == [TEXT]


def test_nobody_is_written_to_whom_the_service_does_not_know(lab: Lab) -> None:
    with pytest.raises(Refused, match="bob is not known"):
        lab.open().send_message(KEY, BOB, message="thanks", text=TEXT)
    with pytest.raises(Refused, match="nothing to write about"):
        Lab().open().send_message(KEY, ANN, message="thanks", text=TEXT)
