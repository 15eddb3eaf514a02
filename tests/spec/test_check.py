"""What a spec's values become, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.model import Money
from crowdstack.spec.models import HumanCrowd
from tests.spec.builders import problems, spec


def test_a_short_spec_has_every_default(tmp_path: Path) -> None:
    found = spec(tmp_path)
    assert (found.task.reward, found.task.timeout, found.task.units_per_visit) == (Money(0, "USD"), 600, 1)
    assert (found.target.repeats, found.target.count, found.budget) == (1, "submitted", None)
    assert found.architect.type == "local"
    assert isinstance(found.provider.crowd, HumanCrowd)
    assert found.provider.crowd.names == ("person-1",)
    assert (found.file, found.folder, found.name) == (tmp_path / "task.yaml", tmp_path, "birds")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1d1h1m1s", 90_061)]
)
def test_durations_are_seconds(text: str, seconds: int, tmp_path: Path) -> None:
    assert spec(tmp_path, sets=[f"task.timeout={text}"]).task.timeout == seconds


@pytest.mark.parametrize("text", ["0s", '""', "90", "1m5h", "-5m", '"5m\\n"', "400d", "5 m"])
def test_what_is_no_duration_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        spec(tmp_path, sets=[f"task.timeout={text}"])


def test_a_spec_cannot_be_changed(tmp_path: Path) -> None:
    found = spec(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.target.repeats = 2


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("provider.crowd={type: human, people: [ann, ann]}", "a name is given twice"),
        ("provider.wallet=5.00 EUR", "another currency"),
        ("target.repeats=2", "a crowd of 1 cannot give 2 answers"),
        ("task.data=[]", "there are no items"),
        ("task.data={rows: [{text: a}]}", "give either a file or rows"),
        ("task.app.uses=[text, text]", "named twice"),
        ("task.estimated_time=11m", "should take 660 s"),
        ("architect={type: local, public_url: ftp://x}", "is not"),
        ("metadata.name=x\\ny", "is not a name"),
    ],
)
def test_what_does_not_go_together_is_told(setting: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        spec(tmp_path, sets=[setting])
    assert any(told in problem for problem in problems(raised)), problems(raised)
