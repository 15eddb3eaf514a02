"""The plugin over Pulumi's provider protocol: requests of the real engine -> `plugin.Plugin` -> answers.

It serves the very objects that the embedded engine calls, so both engines make, compare and delete by the same code.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as wire

from crowdstack.engine.plugin import Found, Plugin, ResourceType, check, diff
from crowdstack.engine.schema import package_schema
from crowdstack.engine.structs import from_struct, to_struct
from crowdstack.engine.urns import type_of
from crowdstack.engine.values import Properties, marked, plain
from crowdstack.errors import CrowdstackError

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_Verb = Callable[["PluginServer", _Request], _Answer]

OpenPlugin = Callable[[Mapping[str, Any]], Plugin]


def _answering(verb: _Verb[_Request, _Answer]) -> Callable[[PluginServer, _Request, Any], _Answer]:
    """One verb at a time, as types expect it; a fault is told in its own words, without a traceback."""

    @wraps(verb)
    def answer(self: PluginServer, request: _Request, context: Any) -> _Answer:
        if not self.trusts(context.peer()):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this plugin answers its own user only")
        try:
            with self.turn:
                return verb(self, request)
        except CrowdstackError as fault:
            told = str(fault)
        except OSError as fault:
            where = f"{fault.filename}: " if fault.filename else ""
            told = f"{where}{fault.strerror or fault}\n  try: mend it and run the same command again"
        except Exception as fault:
            _log.debug("a bug of the plugin", exc_info=True)
            told = f"{type(fault).__name__}: {fault}\n  why: this is a bug in the plugin, not in your program"
        context.abort(grpc.StatusCode.UNKNOWN, told)
        raise AssertionError("abort raises")

    return answer


class PluginServer(provider_pb2_grpc.ResourceProviderServicer):
    """`ResourceProviderServicer` for any plugin. `open_plugin`: the plugin for the provider's own inputs, called once.

    settings: which of the package's configuration values become the provider's inputs; the others are the program's.
    trusts: whether somebody may ask for resources, by the address of the connection.
    """

    def __init__(
        self,
        open_plugin: OpenPlugin,
        *,
        package: Plugin,
        version: str,
        settings: frozenset[str],
        trusts: Callable[[str], bool],
    ) -> None:
        self.turn = threading.Lock()
        self.trusts = trusts
        self._open, self._package, self._version, self._settings = open_plugin, package, version, settings
        self._plugin: Plugin | None = None

    # ------------------------------------------------------------------------------------------ the package

    def Handshake(self, request: wire.ProviderHandshakeRequest, context: Any) -> wire.ProviderHandshakeResponse:
        return wire.ProviderHandshakeResponse(accept_secrets=True, accept_resources=False, accept_outputs=False)

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: wire.GetSchemaRequest, context: Any) -> wire.GetSchemaResponse:
        return wire.GetSchemaResponse(schema=json.dumps(package_schema(self._package, self._version)))

    def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        """What is under way is finished: a step that is cut off would have to be looked for."""
        return empty_pb2.Empty()

    # ------------------------------------------------------------------------------------------ the provider

    def CheckConfig(self, request: wire.CheckRequest, context: Any) -> wire.CheckResponse:
        """Pulumi hands a package's provider everything that is configured under its name; most is the program's."""
        kept = {name: value for name, value in request.news.fields.items() if name in self._settings}
        return wire.CheckResponse(inputs=struct_pb2.Struct(fields=kept))

    def DiffConfig(self, request: wire.DiffRequest, context: Any) -> wire.DiffResponse:
        """Another folder is another place for the same resources: no reason to make them again."""
        changed = plain(from_struct(request.old_inputs)) != plain(from_struct(request.news))
        return wire.DiffResponse(changes=wire.DiffResponse.DIFF_SOME if changed else wire.DiffResponse.DIFF_NONE)

    @_answering
    def Configure(self, request: wire.ConfigureRequest) -> wire.ConfigureResponse:
        self._plugin = self._plugin or self._open(plain(from_struct(request.args)))
        return wire.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    # ------------------------------------------------------------------------------------------ resources

    @_answering
    def Check(self, request: wire.CheckRequest) -> wire.CheckResponse:
        faults = check(self._type(request.urn), plain(from_struct(request.news)))
        failures = []
        for fault in faults:
            name, _, reason = fault.partition(": ")
            failures.append(wire.CheckFailure(property=name, reason=reason))
        return wire.CheckResponse(inputs=request.news, failures=failures)

    @_answering
    def Diff(self, request: wire.DiffRequest) -> wire.DiffResponse:
        old, new = plain(from_struct(request.old_inputs)), plain(from_struct(request.news))
        gap = diff(self._type(request.urn), old, new)
        return wire.DiffResponse(
            changes=wire.DiffResponse.DIFF_SOME if gap.changed else wire.DiffResponse.DIFF_NONE,
            diffs=gap.changed,
            replaces=gap.replaces,
            deleteBeforeReplace=gap.delete_first,
            detailedDiff={
                name: wire.PropertyDiff(kind=_kind(name, old, new, replaces=name in gap.replaces), inputDiff=True)
                for name in gap.changed
            },
            hasDetailedDiff=True,
        )

    @_answering
    def Create(self, request: wire.CreateRequest) -> wire.CreateResponse:
        kind, inputs = self._type(request.urn), from_struct(request.properties)
        made = kind.create(request.urn, plain(inputs), preview=request.preview)
        return wire.CreateResponse(id=made.id, properties=_outputs(kind, made, like=inputs))

    @_answering
    def Update(self, request: wire.UpdateRequest) -> wire.UpdateResponse:
        kind, inputs, outputs = self._type(request.urn), from_struct(request.news), from_struct(request.olds)
        there = _found(request.id, from_struct(request.old_inputs), outputs)
        made = kind.update(there, plain(inputs), preview=request.preview)
        return wire.UpdateResponse(properties=_outputs(kind, made, like={**inputs, **outputs}))

    @_answering
    def Read(self, request: wire.ReadRequest) -> wire.ReadResponse:
        """As it is now: an answer without an id says that it is gone."""
        kind, inputs, outputs = self._type(request.urn), from_struct(request.inputs), from_struct(request.properties)
        now = kind.read(_found(request.id, inputs, outputs))
        if now is None:
            return wire.ReadResponse()
        secret = (name for name, wanted in kind.inputs.items() if wanted.secret)
        return wire.ReadResponse(
            id=now.id,
            inputs=to_struct(marked(now.inputs, like=inputs, secret=secret)),
            properties=_outputs(kind, now, like={**inputs, **outputs}),
        )

    @_answering
    def Delete(self, request: wire.DeleteRequest) -> empty_pb2.Empty:
        there = _found(request.id, from_struct(request.old_inputs), from_struct(request.properties))
        self._type(request.urn).delete(there)
        return empty_pb2.Empty()

    def _type(self, urn: str) -> ResourceType:
        assert self._plugin is not None, "the engine configures a provider before it uses it"
        return self._plugin.type(type_of(urn))


def _found(id_: str, inputs: Properties, outputs: Properties) -> Found:
    return Found(id=id_, inputs=plain(inputs), outputs=plain(outputs))


def _outputs(kind: ResourceType, found: Found, *, like: Properties) -> struct_pb2.Struct:
    return to_struct(marked(found.outputs, like=like, secret=kind.secret_outputs))


def _kind(name: str, old: Mapping[str, Any], new: Mapping[str, Any], *, replaces: bool) -> Any:
    word = "ADD" if name not in old else "DELETE" if name not in new else "UPDATE"
    return wire.PropertyDiff.Kind.Value(f"{word}_REPLACE" if replaces else word)
