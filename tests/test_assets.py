"""The data folders are found beside the package in a checkout and inside it in a wheel, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from crowdstack import assets


def test_this_checkout_goes_by_its_own_folders() -> None:
    assert (assets.folder("schemas") / "task.v1.json").is_file()
    assert assets.folder("schemas").parent == Path(__file__).parents[1]


def test_a_wheel_goes_by_what_it_carries(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "crowdstack"
    assert assets.folder("stacks", package) == package / "_data" / "stacks"


def test_a_checkout_never_reads_what_an_earlier_build_left(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "crowdstack" / "_data" / "schemas").mkdir(parents=True)
    assert assets.folder("schemas", tmp_path / "crowdstack") == tmp_path / "schemas"
