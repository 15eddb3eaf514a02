"""A double of `pulumi-language-python`, which users get with the CLI and which is not to be had as a Go module.

It runs a program as that one does: in the program's folder, in this interpreter, on the SDK's own runtime.
"""

from __future__ import annotations

import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from tests.pulumi.tools import script

CODE = "from tests.pulumi.language import main\nmain()\n"


class Language(LanguageServer):
    """The Automation API's server of an inline program, whose program is the one of the request."""

    def __init__(self, engine: str) -> None:
        super().__init__(lambda: None)
        self._engine = engine

    def Handshake(self, request: Any, context: Any) -> language_pb2.LanguageHandshakeResponse:
        return language_pb2.LanguageHandshakeResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> language_pb2.GetProgramDependenciesResponse:
        return language_pb2.GetProgramDependenciesResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Any:
        yield language_pb2.InstallDependenciesResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    def Cancel(self, request: Any, context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Run(self, request: language_pb2.RunRequest, context: Any) -> language_pb2.RunResponse:
        folder = Path(request.info.program_directory)
        os.chdir(folder)
        request.args[:] = [self._engine]
        self.program = lambda: (runpy.run_path(str(folder / "__main__.py"), run_name="__main__"), None)[1]
        answer: language_pb2.RunResponse = super().Run(request, context)
        return answer


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Language(sys.argv[-1]), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        os._exit(0)


def install(folder: Path) -> Path:
    """The executable, in `folder`."""
    return script(folder / "pulumi-language-python", CODE)
