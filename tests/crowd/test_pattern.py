from __future__ import annotations

import re
from random import Random

import pytest

from crowdstack.crowd import pattern


@pytest.mark.parametrize(
    "text",
    [
        r"^[a-z]{3}$", r"[A-Za-z0-9_-]{16,64}", r"^\d{4}-\d{2}-\d{2}$", r"yes|no", r"(ab|cd)+e?", r"^(?:x\.y)*$", r"[^a-z]{5}",
        r"a+?b*", r"\w+@\w+\.(com|org)", r".{3,}", r"[]x]", r"[\d.]+", r"\S\D\W", r"a{2}", r"", r"[a-]", r"^\$\d+(\.\d\d)?$",
    ],
)  # fmt: skip
def test_every_draw_matches_its_pattern(text: str) -> None:
    draw = pattern.drawer(text)
    drawn = [draw(Random(seed)) for seed in range(50)]
    assert [one for one in drawn if re.search(text, one) is None] == []


def test_draws_differ_and_equal_seeds_draw_the_same() -> None:
    draw = pattern.drawer("[a-z]{12}")
    assert len({draw(Random(seed)) for seed in range(20)}) == 20
    assert draw(Random(3)) == draw(Random(3))


@pytest.mark.parametrize("text", ["(?=a)b", r"(a)\1", "(?<!x)y", "[a", "(a", "a)", "*a", "a\\", r"[^\s\S]"])
def test_a_pattern_that_cannot_be_drawn_from_is_refused_at_once(text: str) -> None:
    with pytest.raises(pattern.Unsupported):
        pattern.drawer(text)
