"""A program of this process that the real engine can run: Pulumi's language protocol, served for one run of the CLI.

The Automation API has such a server too. Its loop is stopped in the middle when a step fails, which Python then complains
of at the terminal; and it registers from many threads, so that even what the program asks for in one go comes in any order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime import run_in_stack, set_all_config
from pulumi.runtime.proto import LanguageRuntimeServicer, language_pb2, language_pb2_grpc, plugin_pb2
from pulumi.runtime.proto.engine_pb2_grpc import EngineStub
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub
from pulumi.runtime.settings import Settings, configure

from crowdstack.engine.rpc import OPTIONS
from crowdstack.ports import Program

_log = logging.getLogger(__name__)


class InlineProgram(LanguageRuntimeServicer):
    """`LanguageRuntimeServicer` for one program. `fault`: what the program itself raised."""

    def __init__(self, program: Program, *, serially: bool) -> None:
        self._program = program
        self._serially = serially
        self._job: asyncio.Task[Any] | None = None
        self.fault: Exception | None = None
        self.arguments: tuple[str, ...] = ()  # how the CLI is told of it

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo()

    def GetRequiredPlugins(self, request: Any, context: Any) -> language_pb2.GetRequiredPluginsResponse:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> language_pb2.GetRequiredPackagesResponse:
        return language_pb2.GetRequiredPackagesResponse()

    def Run(self, request: language_pb2.RunRequest, context: Any) -> language_pb2.RunResponse:
        """Both kinds of failure are told: the engine knows its own steps, and `fault` is the program's."""
        try:
            asyncio.run(self._run(request))
        except (Exception, asyncio.CancelledError) as fault:
            _log.debug("the program ended", exc_info=True)
            return language_pb2.RunResponse(error=f"{type(fault).__name__}: {fault}")
        return language_pb2.RunResponse()

    def end(self) -> None:
        """The engine is gone. The SDK waits for ever for answers that will not come."""
        if self._job is not None:
            with suppress(RuntimeError):  # its loop is closed: it has ended by itself
                self._job.get_loop().call_soon_threadsafe(self._job.cancel)

    async def _run(self, request: language_pb2.RunRequest) -> None:
        self._job = asyncio.current_task()
        loop = asyncio.get_running_loop()
        workers = 1 if self._serially else max(request.parallel, 1) * 4
        loop.set_default_executor(ThreadPoolExecutor(max_workers=min(workers, 64)))
        # A failed step also fails futures that nobody waits for.
        loop.set_exception_handler(lambda _, told: _log.debug("%s", told["message"]))
        with connected(request.monitor_address) as monitor, connected(request.args[0]) as engine:
            settings = Settings(
                project=request.project,
                stack=request.stack,
                organization=request.organization or "organization",
                monitor=ResourceMonitorStub(monitor),
                engine=EngineStub(engine),
                parallel=request.parallel,
                dry_run=request.dryRun,
            )
            configure(settings)
            set_all_config(dict(request.config), list(request.configSecretKeys))
            await run_in_stack(self._body)

    def _body(self) -> None:
        try:
            self._program.run()
        except Exception as fault:
            self.fault = fault
            raise


@contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """A connection that has nothing in common with others of this process.

    By default gRPC shares what it knows of an address. A port at which a CLI was killed would for a while be refused to the
    program of the next one that happens to get it.
    """
    with grpc.insecure_channel(address, options=(*OPTIONS, ("grpc.use_local_subchannel_pool", 1))) as channel:
        yield channel


@contextmanager
def serving(program: Program, *, serially: bool) -> Iterator[InlineProgram]:
    """The program, reachable at a port of the loopback interface for as long as the block runs."""
    inline = InlineProgram(program, serially=serially)
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(inline, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    inline.arguments = (f"--client=127.0.0.1:{port}", "--exec-kind", "auto.inline")
    try:
        yield inline
    finally:
        inline.end()
        server.stop(grace=None).wait()
