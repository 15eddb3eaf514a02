"""The resource monitor: what Pulumi's SDK calls when a program makes resources. Requests -> Deployment -> answers.

Called directly, as an object: no port is opened. The SDK calls from threads; the engine gives it one, so the calls
come one at a time in the program's order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from pulumi.runtime.proto import alias_pb2
from pulumi.runtime.proto import resource_pb2 as wire

from crowdstack.engine.embedded.deployment import Deployment
from crowdstack.engine.embedded.names import Alias
from crowdstack.engine.embedded.options import seconds
from crowdstack.engine.embedded.paths import parse
from crowdstack.engine.embedded.state import Resource
from crowdstack.engine.structs import from_struct, to_struct
from crowdstack.engine.urns import PROVIDER_TYPE
from crowdstack.errors import CrowdstackError, Refused, StepFailed

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")

# What the SDK may rely on. Without output values it awaits inputs itself and sends what they came to.
_FEATURES = {
    "secrets": wire.RESOURCE_MONITOR_FEATURE_SECRETS,
    "aliasSpecs": wire.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    "deletedWith": wire.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
}

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

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._registered: dict[str, Resource] = {}
        self.fault: BaseException | None = None

    def RegisterResource(self, request: wire.RegisterResourceRequest) -> wire.RegisterResourceResponse:
        return self._guarded(self._register, request)

    def RegisterResourceOutputs(self, request: wire.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        return self._guarded(self._register_outputs, request)

    def GetDeploymentInfo(self, request: empty_pb2.Empty) -> wire.DeploymentInfo:
        """Asked by newer SDKs only; older ones ask for each feature by name."""
        return wire.DeploymentInfo(supportedFeatures=_FEATURES.values(), dryRun=self._deployment.preview)

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
        if request.type.startswith(PROVIDER_TYPE):
            _refuse(f"explicit providers ({request.type} {request.name})")
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
        with _refusing(option, urn, "write it like size, tags.team or rules[0].port"):
            parse(path)
    return tuple(told)


def _timeouts(told: wire.RegisterResourceRequest.CustomTimeouts, urn: str) -> dict[str, float]:
    """Kept in the state for Pulumi's own engine; what our plugin does ends by itself."""
    with _refusing("custom_timeouts", urn, "write it like 90s or 1h30m"):
        return {field.name: seconds(text) for field, text in told.ListFields()}


@contextmanager
def _refusing(option: str, urn: str, hint: str) -> Iterator[None]:
    try:
        yield
    except ValueError as fault:
        raise StepFailed(f"{option}: {fault}", where=urn, hint=hint) from fault
