"""Properties as they cross Pulumi's wire (protobuf) <-> values. Secrets, outputs and unknowns travel as marked maps and a text."""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime.rpc import UNKNOWN as UNKNOWN_TEXT

from crowdstack.engine.values import OUTPUT, SECRET, SIGNATURE, UNKNOWN, Properties, SecretValue


def from_struct(struct: struct_pb2.Struct) -> Properties:
    """Properties as they cross the wire -> values. Whole numbers come back as int."""
    return {name: _from_wire(value) for name, value in struct.fields.items()}


def to_struct(properties: Properties) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    for name, value in properties.items():
        struct.fields[name].CopyFrom(_to_wire(value))
    return struct


def _from_wire(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "string_value":
        return UNKNOWN if value.string_value == UNKNOWN_TEXT else value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_from_wire(item) for item in value.list_value.values]
    if kind == "struct_value":
        found = from_struct(value.struct_value)
        match found.get(SIGNATURE):
            case signature if signature == SECRET:
                return SecretValue(found["value"])
            case signature if signature == OUTPUT:
                inner = found.get("value", UNKNOWN)
                return SecretValue(inner) if found.get("secret") else inner
        return found
    return None


def _to_wire(value: Any) -> struct_pb2.Value:
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=UNKNOWN_TEXT)
    if isinstance(value, SecretValue):
        return _to_wire({SIGNATURE: SECRET, "value": value.value})
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=to_struct(value))
    if isinstance(value, list | tuple):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_to_wire(item) for item in value]))
    assert value is None
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
