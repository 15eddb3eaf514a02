"""F1: no spec reads outside its folder."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import answers_schema, build_bundle, load_items
from crowdstack.spec.files import Unfit, listed, read
from tests.spec.builders import spec

CANARY = "id,text\n1,CANARY\n"

HOSTILE = [
    "../outside.csv", "./../outside.csv", "sub/../../outside.csv", "sub/../items.csv", "..", "../", "/etc/passwd", "//etc/passwd",
    "{outside}", "/proc/self/environ", "/dev/stdin", "/dev/fd/0", "~/../outside.csv", "file:///etc/passwd", "sub/..", ".",
    "./", "", " ", "..\\outside.csv", "sub\\..\\..\\outside.csv", "C:\\secret.csv", "\\\\host\\share", "items.csv/../../outside.csv",
    "%2e%2e/outside.csv", "..%2foutside.csv", "．．/outside.csv", "..／outside.csv", "items.csv\x00.png", "a\nb.csv", "link.csv",
    "linked/outside.csv", "loop", "fifo", "sock", "sub", "ITEMS.CSV", "items.csv/", "sub/link.csv", "dangling", "a" * 300,
    "x/" * 3000 + "items.csv", "items.csv/x", "device",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A spec's folder with everything odd in it; the canary lies outside."""
    (tmp_path / "outside.csv").write_text(CANARY)
    inside = tmp_path / "task"
    (inside / "sub").mkdir(parents=True)
    (inside / "items.csv").write_text("id,text\n1,A robin.\n")
    (inside / "link.csv").symlink_to(tmp_path / "outside.csv")
    (inside / "sub" / "link.csv").symlink_to("../../outside.csv")
    (inside / "linked").symlink_to(tmp_path)
    (inside / "loop").symlink_to("loop")
    (inside / "dangling").symlink_to("nowhere")
    (inside / "device").symlink_to("/dev/zero")
    os.mkfifo(inside / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(inside)
        listening.bind("sock")
        yield inside


@pytest.fixture(autouse=True)
def _back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_is_long_enough() -> None:
    assert len(set(HOSTILE)) >= 40


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: ascii(path[:30]))
def test_no_spec_reads_outside_its_folder(path: str, folder: Path) -> None:
    named = path.replace("{outside}", str(folder.parent / "outside.csv"))
    if named == "items.csv/":  # a file all the same
        assert b"robin" in read(folder, named, 1000)
        return
    with pytest.raises(Unfit):
        read(folder, named, 1000)


@pytest.mark.parametrize("field", ["data", "html", "assets", "answers", "recording"])
@pytest.mark.parametrize(
    "path", ["../outside.csv", "link.csv", "linked/outside.csv", "fifo", "/etc/passwd", "sub/link.csv"]
)
def test_every_path_of_a_spec_goes_the_same_way(field: str, path: str, folder: Path) -> None:
    settings = {
        "data": f"task.data.file={path}",
        "html": f"task.app.html={path}",
        "assets": f"task.assets={path}",
        "answers": f"task.answers={path}",
        "recording": f"provider.crowd={{type: replay, answers: {path}}}",
    }

    def everything() -> None:
        found = spec(folder, ("uses: [text]", "uses: [id, text]"), sets=[settings[field], "task.data.format=csv"])
        load_items(found)
        answers_schema(found)
        build_bundle(found)

    with pytest.raises(SpecError) as raised:
        everything()
    assert "CANARY" not in str(raised.value)


def test_a_link_swapped_in_between_check_and_use_is_not_followed(tmp_path: Path) -> None:
    """Whatever is swapped while we read: it is the file's own bytes or a refusal, never those outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_text(CANARY)
    inside = tmp_path / "task"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "a.csv").write_text("own")
    (tmp_path / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            os.rename(inside / "sub", tmp_path / "aside")
            os.rename(tmp_path / "link", inside / "sub")
            os.rename(inside / "sub", tmp_path / "link")
            os.rename(tmp_path / "aside", inside / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes | None] = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(inside, "sub/a.csv", 1000))
                names = listed(inside, "sub")
                seen.update(read(inside, name, 1000) for name in names)
            except Unfit:
                seen.add(None)
    finally:
        done.set()
        swapper.join()
    assert seen == {b"own", None}


def test_what_was_opened_is_what_is_read(folder: Path) -> None:
    from crowdstack.spec.files import opened

    with opened(folder, "items.csv") as file:
        with suppress(FileNotFoundError):
            (folder / "items.csv").unlink()
        (folder / "items.csv").symlink_to(folder.parent / "outside.csv")
        assert b"CANARY" not in file.read()
