"""The resource monitor: what Pulumi's SDK calls when a program makes resources. Requests -> Deployment -> answers.

Called directly, as an object: no port is opened. The SDK calls from threads; the engine gives it one, so the calls
come one at a time in the program's order.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.message import Message
from pulumi.runtime.proto import alias_pb2
from pulumi.runtime.proto import resource_pb2 as wire
from pulumi.runtime.rpc import UNKNOWN as UNKNOWN_TEXT

from crowdstack.engine import paths
from crowdstack.engine.checkpoint import Resource
from crowdstack.engine.deployment import Deployment
from crowdstack.engine.names import Alias
from crowdstack.engine.values import OUTPUT, SECRET, SIGNATURE, UNKNOWN, Properties, SecretValue
from crowdstack.errors import CrowdstackError, Refused, StepFailed

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")

# What the SDK may rely on. Without output values it awaits inputs itself and sends what they came to.
_FEATURES = ("secrets", "aliasSpecs", "deletedWith")

# Options that this engine does not carry out, by field of the request. Refused, never ignored.
_NOT_SERVED = {
    "envVarMappings": "env_var_mappings",
    "hideDiffs": "hide_diffs",
    "hooks": "hooks",
    "packageRef": "a parameterized package",
    "pluginDownloadURL": "plugin_download_url",
    "provider": "provider",
    "providers": "providers",
    "remote": "a component of a plugin",
    "replace_with": "replace_with",
    "replacement_trigger": "replacement_trigger",
    "state_migrations": "state_migrations",
    "transforms": "transforms",
    "version": "version",
}


class RpcFault(grpc.RpcError):  # type: ignore[misc]
    """A fault in the form in which the SDK expects it from a monitor."""

    def __init__(self, details: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(details)
        self._details, self._code = details, code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class Monitor:
    """`ResourceMonitorServicer` and `EngineServicer` for one run of one program. `fault` is the first step that failed."""

    def __init__(self, deployment: Deployment, *, preview: bool) -> None:
        self._deployment = deployment
        self._preview = preview
        self._registered: dict[str, Resource] = {}
        self.fault: BaseException | None = None

    def RegisterResource(self, request: wire.RegisterResourceRequest) -> wire.RegisterResourceResponse:
        return self._guarded(self._register, request)

    def RegisterResourceOutputs(self, request: wire.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        return self._guarded(self._register_outputs, request)

    def GetDeploymentInfo(self, request: empty_pb2.Empty) -> wire.DeploymentInfo:
        """Asked by newer SDKs only; older ones ask for each feature by name."""
        features = (
            wire.RESOURCE_MONITOR_FEATURE_SECRETS,
            wire.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
            wire.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
        )
        return wire.DeploymentInfo(supportedFeatures=features, dryRun=self._preview)

    def SupportsFeature(self, request: wire.SupportsFeatureRequest) -> wire.SupportsFeatureResponse:
        return wire.SupportsFeatureResponse(hasSupport=request.id in _FEATURES)

    def SignalAndWaitForShutdown(self, request: empty_pb2.Empty) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Invoke(self, request: wire.ResourceInvokeRequest) -> NoReturn:
        self._guarded(_refuse, f"functions of plugins ({request.tok})")

    def Call(self, request: wire.ResourceCallRequest) -> NoReturn:
        self._guarded(_refuse, f"methods of plugins ({request.tok})")

    def ReadResource(self, request: wire.ReadResourceRequest) -> NoReturn:
        self._guarded(_refuse, f"reading resources of others ({request.type}.get)")

    def ExistsResource(self, request: Any) -> NoReturn:
        self._guarded(_refuse, f"asking for resources of others ({request.type})")

    def RegisterPackage(self, request: wire.RegisterPackageRequest) -> NoReturn:
        self._guarded(_refuse, f"parameterized packages ({request.name})")

    def Log(self, request: Any) -> empty_pb2.Empty:
        """A program's own messages; the SDK's debug output, which may hold values, is dropped."""
        level = (None, logging.INFO, logging.WARNING, logging.ERROR)[request.severity]
        if level is not None:
            _log.log(level, "%s", request.message)
        return empty_pb2.Empty()

    def _register(self, request: wire.RegisterResourceRequest) -> wire.RegisterResourceResponse:
        for field, value in request.ListFields():
            if field.name in _NOT_SERVED and not (isinstance(value, Message) and not value.ListFields()):
                _refuse(f"the resource option {_NOT_SERVED[field.name]} (of {request.type} {request.name})")
        resource = self._deployment.register(
            self._wanted(request),
            aliases=[_alias(alias) for alias in request.aliases] + [Alias(urn=urn) for urn in request.aliasURNs],
            delete_first=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        )
        return wire.RegisterResourceResponse(urn=resource.urn, id=resource.id, object=to_struct(resource.outputs))

    def _wanted(self, request: wire.RegisterResourceRequest) -> Resource:
        """The resource as the program wants it. Three options count for its children too, unless they say otherwise."""
        urn = self._deployment.names.urn(request.type, request.name, request.parent)
        above = self._registered.get(request.parent, Resource(urn="", type="", custom=False))
        own_retain = request.retainOnDelete if request.HasField("retainOnDelete") else None
        own_protect = request.protect if request.HasField("protect") else None
        wanted = Resource(
            urn=urn,
            type=request.type,
            custom=request.custom,
            parent=request.parent,
            inputs=from_struct(request.object),
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={
                name: tuple(sorted(found.urns)) for name, found in request.propertyDependencies.items() if found.urns
            },
            protect=above.protect if own_protect is None else own_protect,
            retain_on_delete=above.retain_on_delete if own_retain is None else own_retain,
            deleted_with=request.deletedWith or above.deleted_with,
            import_id=request.importId,
            additional_secret_outputs=tuple(request.additionalSecretOutputs),
            ignore_changes=_paths(request.ignoreChanges, "ignore_changes", urn),
            replace_on_changes=_paths(request.replaceOnChanges, "replace_on_changes", urn),
            custom_timeouts=_timeouts(request.customTimeouts, urn),
        )
        self._registered[urn] = wanted
        return wanted

    def _register_outputs(self, request: wire.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        self._deployment.register_outputs(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def _guarded(self, answer: Callable[[_Request], _Answer], request: _Request) -> _Answer:
        """After the first fault nothing more is done; the SDK gets each fault as text, the engine raises the first itself."""
        if self.fault is not None:
            raise RpcFault("an earlier step failed")
        try:
            return answer(request)
        except BaseException as fault:
            self.fault = fault
            what = fault.what if isinstance(fault, CrowdstackError) else type(fault).__name__
            raise RpcFault(what) from fault


def _refuse(what: str) -> NoReturn:
    raise Refused(
        f"the embedded engine does not serve {what}",
        why="it carries out what stacks on this machine need; the rest is left to Pulumi's own engine",
        hint="leave it out of the stack program",
    )


def _alias(told: alias_pb2.Alias) -> Alias:
    spec = told.spec
    return Alias(
        urn=told.urn,
        type=spec.type,
        name=spec.name,
        parent=spec.parentUrn,
        no_parent=spec.noParent,
        project=spec.project,
        stack=spec.stack,
    )


def _paths(told: Iterable[str], option: str, urn: str) -> tuple[str, ...]:
    for path in told:
        try:
            paths.parse(path)
        except ValueError as fault:
            raise StepFailed(
                f"{option}: {fault}", where=urn, hint="write it like size, tags.team or rules[0].port"
            ) from fault
    return tuple(told)


_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _timeouts(told: wire.RegisterResourceRequest.CustomTimeouts, urn: str) -> dict[str, float]:
    """Kept in the state for Pulumi's own engine; what our plugin does ends by itself."""
    found = {}
    for field, text in told.ListFields():
        parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise StepFailed(f"custom_timeouts: {text!r} is no duration", where=urn, hint="write it like 90s or 1h30m")
        found[field.name] = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return found


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
