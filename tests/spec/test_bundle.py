"""The bundle: a table of URLs, named by one digest."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import build_bundle
from tests.spec.builders import problems, spec

ASSETS = ("provider:", "  assets: images\nprovider:")
SAMPLE = ("provider:", "  sample: {text: A robin.}\nprovider:")


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(name.encode())


def test_every_file_of_the_table_has_its_bytes(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "birds/b.svg", ".hidden", ".git/config")
    found = build_bundle(spec(tmp_path, ASSETS))
    assert list(found.files) == ["/", "/client.js", "/crowdstack.css", "/images/a.png", "/images/birds/b.svg"]
    for file in found.files.values():
        assert hashlib.sha256(found.sources[file.blob]).hexdigest() == file.blob
    assert found.files["/"].type == "text/html; charset=utf-8"
    assert found.files["/images/birds/b.svg"].type == "image/svg+xml"
    assert found.sources[found.files["/images/a.png"].blob] == b"a.png"


def test_the_digest_names_content_and_paths(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    before = build_bundle(spec(tmp_path, ASSETS)).digest
    assert build_bundle(spec(tmp_path, ASSETS)).digest == before
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "c.png")
    moved = build_bundle(spec(tmp_path, ASSETS)).digest
    (tmp_path / "images" / "c.png").write_bytes(b"other")
    assert len({before, moved, build_bundle(spec(tmp_path, ASSETS)).digest}) == 3


def test_the_sample_is_served_with_title_and_description(tmp_path: Path) -> None:
    found = build_bundle(spec(tmp_path, SAMPLE))
    sample = json.loads(found.sources[found.files["/sample.json"].blob])
    assert sample == {"title": "Which bird is it?", "description": "", "data": {"text": "A robin."}}


def test_no_data_and_no_answers_are_in_the_bundle(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    found = build_bundle(spec(tmp_path, ASSETS, SAMPLE, items__csv="id,text,gold\n1,CANARY,CANARY\n"))
    assert not any(b"CANARY" in content for content in found.sources.values())


@pytest.mark.parametrize(
    "page",
    ["<p>", "<script src=/other.js></script>", "<!-- client.js -->", '<script src="https://x.org/client.js"></script>'],
)
def test_a_page_must_load_the_client(page: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not load the client"):
        build_bundle(spec(tmp_path, page__html=page))


@pytest.mark.parametrize(
    "page", ["<script src=client.js></script>", '<SCRIPT defer SRC = "./client.js">', "<script\n src='/client.js' >"]
)
def test_a_page_may_load_the_client_in_any_spelling(page: str, tmp_path: Path) -> None:
    assert "/" in build_bundle(spec(tmp_path, page__html=page)).files


def test_names_that_some_file_systems_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "A.png", "\u00e9.png", unicodedata.normalize("NFD", "\u00e9.png"))
    with pytest.raises(SpecError) as raised:
        build_bundle(spec(tmp_path, ASSETS))
    assert len(problems(raised)) == 2


def test_an_asset_cannot_take_an_address_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "work").write_text("x")
    with pytest.raises(SpecError, match="address of the server"):
        build_bundle(spec(tmp_path, ("provider:", "  assets: v1\nprovider:")))


def test_a_link_among_the_assets_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    (tmp_path / "images" / "b.png").symlink_to("/etc/passwd")
    with pytest.raises(SpecError, match=r"images/b\.png is a link"):
        build_bundle(spec(tmp_path, ASSETS))
