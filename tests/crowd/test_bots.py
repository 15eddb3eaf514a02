from __future__ import annotations

import statistics

import jsonschema
import pytest

from crowdstack.crowd.bots import Bot, bots
from crowdstack.crowd.conduct import Act, Way
from crowdstack.errors import Refused
from tests.crowd.builders import LABEL, crowd_config


def acts(bot: Bot, *, units: int = 400, given_up: int = 0) -> list[Act]:
    return [bot.act({"text": f"bird {number}"}, given_up) for number in range(units)]


def test_another_process_with_the_same_seed_acts_the_same() -> None:
    config = crowd_config(error_rate=0.3, abandon_rate=0.3, duplicate_rate=0.3, time_per_unit_s=1.0)
    for one, other in zip(bots(config), bots(config), strict=True):
        assert acts(one) == acts(other)


def test_workers_and_seeds_differ() -> None:
    first, second, _ = bots(crowd_config(seed=1))
    other = bots(crowd_config(seed=2))[0]
    assert acts(first) != acts(second)
    assert acts(first) != acts(other)


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_rates_are_kept(rate: float) -> None:
    erring = acts(bots(crowd_config(error_rate=rate))[0])
    leaving = acts(bots(crowd_config(abandon_rate=rate))[0])
    doubling = acts(bots(crowd_config(duplicate_rate=rate))[0])
    assert statistics.mean(act.wrong is not None for act in erring) == pytest.approx(rate, abs=0.08)
    assert statistics.mean(act.way is not Way.ANSWER for act in leaving) == pytest.approx(rate, abs=0.08)
    assert statistics.mean(act.twice for act in doubling) == pytest.approx(rate, abs=0.08)


def test_half_of_the_abandoned_units_are_given_back() -> None:
    ways = [act.way for act in acts(bots(crowd_config(abandon_rate=1.0))[0])]
    assert ways.count(Way.RETURN) / len(ways) == pytest.approx(0.5, abs=0.08)


def test_a_unit_that_was_given_up_is_thought_about_anew() -> None:
    bot = bots(crowd_config(abandon_rate=0.5))[0]
    left = [number for number, act in enumerate(acts(bot)) if act.way is not Way.ANSWER]
    again = [acts(bot, given_up=1)[number].way for number in left]
    assert again.count(Way.ANSWER) / len(again) == pytest.approx(0.5, abs=0.12)


def test_right_answers_fit_the_schema_and_wrong_ones_do_not() -> None:
    check = jsonschema.Draft202012Validator(LABEL)
    for act in acts(bots(crowd_config(error_rate=1.0))[0], units=100):
        assert check.is_valid(act.answers)
        assert not check.is_valid(act.wrong)


def test_the_median_time_is_the_one_asked_for() -> None:
    times = [act.pause_s for act in acts(bots(crowd_config(time_per_unit_s=2.0))[0])]
    assert statistics.median(times) == pytest.approx(2.0, rel=0.1)
    assert {act.pause_s for act in acts(bots(crowd_config())[0])} == {0.0}


def test_bots_need_to_know_what_answers_look_like() -> None:
    with pytest.raises(Refused, match="what answers look like"):
        bots(crowd_config(answers=None))
