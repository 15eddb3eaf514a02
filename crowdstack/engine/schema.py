"""The package schema of a plugin: its resource types as Pulumi describes them. Plugin -> JSON; pure.

`pulumi package get-schema` prints it; what a program may set and what it gets back is read from the types themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowdstack.engine.plugin import Input, Output, Plugin, ResourceType

_ANY = {"$ref": "pulumi.json#/Any"}
_TYPES: Mapping[type, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    list: {"type": "array", "items": _ANY},
    dict: {"type": "object", "additionalProperties": _ANY},
}


def package_schema(plugin: Plugin, version: str) -> dict[str, Any]:
    return {
        "name": plugin.package,
        "displayName": plugin.package,
        "version": version,
        "description": f"Resources of {plugin.package}.",
        "license": "Apache-2.0",
        "language": {"python": {"respectSchemaVersion": True}},
        "config": {},
        "provider": {"type": "object"},
        "resources": {kind.token: _resource(kind) for kind in plugin.types},
    }


def _resource(kind: ResourceType) -> dict[str, Any]:
    outputs = {name: _output(found) for name, found in kind.outputs.items()}
    for name in kind.secret_outputs:
        outputs.setdefault(name, dict(_ANY))["secret"] = True
    return {
        "description": kind.__doc__ or kind.token,
        "inputProperties": {name: _input(wanted) for name, wanted in kind.inputs.items()},
        "requiredInputs": sorted(name for name, wanted in kind.inputs.items() if wanted.required),
        "properties": outputs,
        "required": sorted(outputs),
    }


def _input(wanted: Input) -> dict[str, Any]:
    told: dict[str, Any] = {**_TYPES[wanted.type], "description": wanted.about}
    if wanted.replaces:
        told["replaceOnChanges"] = True
    if wanted.secret:
        told["secret"] = True
    return told


def _output(found: Output) -> dict[str, Any]:
    return {**_TYPES[found.type], "description": found.about}
