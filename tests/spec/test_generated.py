"""What is generated from the models is what is committed."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from crowdstack.spec.explain import fields, page, task_schema
from crowdstack.spec.models import json_schema

TOP = Path(__file__).parents[2]
NOW = "run: python -m crowdstack.spec ."


def test_the_committed_schema_is_the_models() -> None:
    committed = json.loads((TOP / "schemas" / "task.v1.json").read_text())
    assert committed == json_schema(), NOW
    Draft202012Validator.check_schema(committed)


def test_the_committed_reference_is_the_schemas() -> None:
    assert (TOP / "docs" / "spec.md").read_text() == page(), NOW


def test_every_field_says_what_it_means_and_when_it_can_change() -> None:
    found = fields()
    assert len(found) > 50
    assert all(field.meaning.endswith(".") and field.change and field.type for field in found)


def test_the_defaults_in_the_schema_satisfy_it() -> None:
    schema = task_schema()
    for model in schema["$defs"].values():
        for about in model["properties"].values():
            if "default" in about:
                Draft202012Validator({**about, "$defs": schema["$defs"]}).validate(about["default"])
            for example in about.get("examples", ()):
                Draft202012Validator({**about, "$defs": schema["$defs"]}).validate(example)
