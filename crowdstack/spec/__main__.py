"""Writes what is generated from the models: `python -m crowdstack.spec FOLDER` -> schemas/task.v1.json, docs/spec.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from crowdstack.spec.explain import page
from crowdstack.spec.models import json_schema

if __name__ == "__main__":
    top = Path(sys.argv[1])
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    (top / "schemas" / "task.v1.json").write_text(schema, encoding="utf-8")
    (top / "docs" / "spec.md").write_text(page(), encoding="utf-8")
