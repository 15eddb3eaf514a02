"""How fast is the task server? `python benchmarks/server.py` prints one table (`-o json` for machines).

Processes as in real life: the server with its database on a real disk, the workers, the reconciler's end of the control
socket, each its own. Every figure stands beside a bare Tornado echo server, measured by the same workers in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402
from crowdstack.folder import RunFolder, private_folder, write_private
from crowdstack.model import ItemOffer, StudyState, UnitOffer
from crowdstack.server.client import ControlClient
from crowdstack.tokens import PURPOSES, Signer, b64, derive, link_claims
from crowdstack.wire.configs import BundleFile, Limits, ServerConfig

RUN, STUDY = "bench-1", "bench-1-s"
KEY = secrets.token_bytes(32)
ANSWERS = {
    "type": "object",
    "properties": {
        "label": {"enum": ["yes", "no", "unsure"]},
        "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
        "comment": {"type": "string", "maxLength": 500},
    },
    "required": ["label", "confidence"],
    "additionalProperties": False,
}


class Socket(asyncio.Protocol):
    """A WebSocket client that costs next to nothing (its mask is zero), so that the server is what is measured."""

    def __init__(self, host: str, path: str, heard: Callable[[Socket, bytes], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._host, self._path, self._heard = host, path, heard
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Origin: http://{self._host}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._buffer = rest
            self.opened.set_result(None)
        while len(self._buffer) >= 2:
            start, size = 2, self._buffer[1]
            if size == 126:
                start, size = 4, int.from_bytes(self._buffer[2:4], "big")
            if len(self._buffer) < start + size:
                return
            kind, text = self._buffer[0] & 15, self._buffer[start : start + size]
            self._buffer = self._buffer[start + size :]
            if kind == 1:
                self._heard(self, text)
            elif kind == 9:
                self._frame(10, text)

    def send(self, text: bytes) -> None:
        self._frame(1, text)

    def _frame(self, kind: int, text: bytes) -> None:
        size = len(text)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._transport.write(bytes([128 | kind]) + length + b"\0\0\0\0" + text)

    def close(self) -> None:
        self._transport.close()


async def connect(port: int, path: str, heard: Callable[[Socket, bytes], None]) -> Socket:
    host = f"127.0.0.1:{port}"
    _, socket = await asyncio.get_running_loop().create_connection(lambda: Socket(host, path, heard), "127.0.0.1", port)
    await socket.opened
    return socket


class Unexpected(Exception):
    """The server said something that ends the measurement."""


class Crowd:
    """Workers that ask, answer and ask again, as fast as they are served."""

    def __init__(self, links: list[str]) -> None:
        self.links = links
        self.cycles = 0
        self.waits_ms: list[float] = []
        self.welcome = 0
        self.running = True
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # an answer that spoils it all
        self._asked: dict[Socket, float] = {}
        self._numbers = iter(range(10**9))

    async def arrive(self, port: int) -> list[Socket]:
        sockets = []
        for at in range(0, len(self.links), 40):
            group = await asyncio.gather(*(connect(port, "/v1/work", self.heard) for _ in self.links[at : at + 40]))
            for socket, link in zip(group, self.links[at : at + 40], strict=True):
                socket.send(json.dumps({"type": "hello", "protocol": 1, "bundle": "", "params": {"t": link}}).encode())
            sockets += group
            while self.welcome < len(sockets):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return sockets

    def ask(self, socket: Socket) -> None:
        self._asked[socket] = time.perf_counter()
        socket.send(b'{"type":"next"}')

    def heard(self, socket: Socket, text: bytes) -> None:
        if text.startswith(b'{"type":"assigned","assignment":"'):
            self.waits_ms.append((time.perf_counter() - self._asked[socket]) * 1000)
            n = next(self._numbers)
            socket.send(
                b'{"type":"submit","assignment":"%s","nonce":"%022d","answers":{"label":"yes","confidence":%d,'
                b'"comment":"answer number %d"},"signals":{"seconds":1.5,"blurs":0}}'
                % (text[33 : text.index(b'"', 33)], n, n % 101, n)
            )
        elif text.startswith(b'{"type":"accepted"'):
            self.cycles += 1
            if self.running:
                self.ask(socket)
        elif text.startswith(b'{"type":"welcome"'):
            self.welcome += 1
        elif not self.over.done():
            self.over.set_exception(Unexpected(text.decode()))


def cpu_s(pid: int) -> float:
    """Processor time that the process has taken until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def crowd(port: int, links: list[str], seconds: float, rest: bool, server: int) -> dict[str, Any]:
    """Full cycles per second, what one costs the server, and how long a unit took to come."""
    workers = Crowd(links)
    sockets = await workers.arrive(port)
    if rest:
        await asyncio.sleep(seconds)
        return {"held": sum(not socket._transport.is_closing() for socket in sockets)}
    for socket in sockets:
        workers.ask(socket)
    await asyncio.sleep(0.5)
    workers.waits_ms.clear()
    before, start, spent = workers.cycles, time.perf_counter(), cpu_s(server)
    await asyncio.wait([workers.over], timeout=seconds)
    cycles = workers.cycles - before
    rate, cost_us = cycles / (time.perf_counter() - start), (cpu_s(server) - spent) / max(1, cycles) * 1e6
    if workers.over.done():
        workers.over.result()
    waits = workers.waits_ms.copy()
    workers.running = False
    await asyncio.sleep(0.3)
    for socket in sockets:
        socket.close()
    quantiles = statistics.quantiles(waits, n=100)
    return {"cycles_per_s": rate, "cost_us": cost_us, "assign_p50_ms": quantiles[49], "assign_p99_ms": quantiles[98]}


async def echo_crowd(port: int, workers: int, seconds: float) -> dict[str, Any]:
    """Two messages there and back make one cycle, as above."""
    heard = 0

    def on_message(socket: Socket, text: bytes) -> None:
        nonlocal heard
        heard += 1
        socket.send(text)

    sockets = [await connect(port, "/echo", on_message) for _ in range(workers)]
    for socket in sockets:
        socket.send(b'{"type":"submit","text":"%s"}' % (b"x" * 150))
    await asyncio.sleep(0.5)
    before, start = heard, time.perf_counter()
    await asyncio.sleep(seconds)
    return {"cycles_per_s": (heard - before) / 2 / (time.perf_counter() - start)}


async def drain(port: int, seconds: float) -> dict[str, Any]:
    """The reconciler's end: everything is taken and acknowledged."""
    client = ControlClient(f"http://127.0.0.1:{port}", derive(KEY_FROM_ENV, RUN, "control"), "bench-0000000000000")
    await client.connect(None)
    end, events = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        if batch := await client.next_batch(0.5):
            events += len(batch.events)
            await client.ack(batch.cursor.seq)
    await client.close()
    return {"events": events}


async def offer(port: int, items: int, repeats: int) -> None:
    client = ControlClient(f"http://127.0.0.1:{port}", derive(KEY, RUN, "control"), "bench-0000000000000")
    await client.connect(None)
    for at in range(0, items, 500):
        names = [f"item-{n}" for n in range(at, min(at + 500, items))]
        data = {"text": "A sentence of some length, as people read it. " * 4, "hypothesis": "Another one."}
        await client.offer([ItemOffer(item=name, data=data) for name in names], [])
        for k in range(repeats):
            await client.offer([], [UnitOffer(unit=f"{name}-{k:020}", item=name, attempt=1) for name in names])
    await client.open_study(STUDY, places=100_000, state=StudyState.OPEN)
    await client.close()


ECHO = """
import asyncio, sys
from tornado.web import Application
from tornado.websocket import WebSocketHandler
class Echo(WebSocketHandler):
    def on_message(self, message): self.write_message(message)
async def main():
    Application([("/echo", Echo)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()
asyncio.run(main())
"""


def helper(*arguments: str, **data: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"key": KEY.hex(), **data}))
    process.stdin.close()
    return process


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    text = process.stdout.read()
    if process.wait():
        raise SystemExit(f"no figures: {text or process.returncode}")
    found: dict[str, Any] = json.loads(text)
    return found


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until_open(port: int) -> None:
    import socket

    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # noqa: TID251
    raise SystemExit("a server did not start")


def configuration(port: int) -> ServerConfig:
    limits = Limits(frames_per_s=1e6, burst=10**6, disk_reserve=0, ballast=0)  # one socket here does many workers' work
    return ServerConfig(
        run=RUN,
        task="bench",
        title="Bench",
        description="",
        host="127.0.0.1",
        port=port,
        origin=f"http://127.0.0.1:{port}",
        keys={purpose: derive(KEY, RUN, purpose) for purpose in PURPOSES},
        bundle="0" * 64,
        files={"/": BundleFile(blob="0" * 64, type="text/html")},
        answers=ANSWERS,
        timeout_s=600,
        units_per_visit=None,
        max_units=None,
        sample=None,
        completion="",
        limits=limits,
    )


def links(port: int, first: int, count: int) -> list[str]:
    signer = Signer(derive(KEY, RUN, "link"), "link")
    origin = f"http://127.0.0.1:{port}"
    return [
        signer.sign(
            link_claims(run=RUN, study=STUDY, provider="mock", worker=f"w{n}", origin=origin, issued=0, expires=None)
        )
        for n in range(first, first + count)
    ]


def metrics(port: int) -> dict[str, float]:
    headers = {"Authorization": "Bearer " + b64(derive(KEY, RUN, "metrics"))}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def rss_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def measure(folder: Path, seconds: float, items: int, repeats: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    echo_port = free_port()
    echo = subprocess.Popen([sys.executable, "-c", ECHO, str(echo_port)])
    try:
        wait_until_open(echo_port)
        found = result(helper("echo", port=echo_port, workers=200, seconds=seconds))
        figures["echo, cycles/s at 200"] = found["cycles_per_s"]
    finally:
        echo.kill()
        echo.wait()

    port, run = free_port(), RunFolder(private_folder(folder / "run"))
    write_private(run.server_config, configuration(port).to_bytes())
    with run.server_log.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "crowdstack.server", "--run-folder", str(run.root), "--blobs", str(folder)],
            stderr=log,
            cwd=ROOT,
        )
    try:
        wait_until_open(port)
        figures["RSS at rest, MiB"] = rss_mib(server.pid)
        asyncio.run(offer(port, items, repeats))
        figures["synchronous (2 = FULL), live"] = metrics(port)["crowdstack_inbox_synchronous"]
        found = result(
            helper("crowd", port=port, links=links(port, 0, 50), seconds=seconds, rest=False, server=server.pid)
        )
        figures["cycles/s at 50"] = found["cycles_per_s"]
        figures["assign p50 at 50, ms"] = found["assign_p50_ms"]
        figures["assign p99 at 50, ms"] = found["assign_p99_ms"]
        figures["RSS at 50, MiB"] = rss_mib(server.pid)
        found = result(
            helper("crowd", port=port, links=links(port, 100, 200), seconds=seconds, rest=False, server=server.pid)
        )
        figures["cycles/s at 200"] = found["cycles_per_s"]
        figures["server CPU at 200, us per cycle"] = found["cost_us"]
        figures["ratio to echo"] = found["cycles_per_s"] / figures["echo, cycles/s at 200"]
        drained = helper("drain", port=port, seconds=seconds + 2)
        found = result(
            helper("crowd", port=port, links=links(port, 400, 200), seconds=seconds, rest=False, server=server.pid)
        )
        figures["cycles/s at 200, draining"] = found["cycles_per_s"]
        figures["events drained/s meanwhile"] = result(drained)["events"] / (seconds + 2)
        found = result(
            helper("crowd", port=port, links=links(port, 1000, 1000), seconds=2, rest=True, server=server.pid)
        )
        figures["open sockets held"] = found["held"]
        figures["RSS at the end, MiB"] = rss_mib(server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    return figures


def main() -> None:
    global KEY_FROM_ENV
    if len(sys.argv) > 1 and sys.argv[1] in ("echo", "crowd", "drain"):
        data = json.loads(sys.stdin.read())
        KEY_FROM_ENV = bytes.fromhex(data.pop("key"))
        jobs: dict[str, Callable[..., Any]] = {"echo": echo_crowd, "crowd": crowd, "drain": drain}
        try:
            print(json.dumps(asyncio.run(asyncio.wait_for(jobs[sys.argv[1]](**data), 60))))
        except Unexpected as fault:
            print(f"the server said {fault} (units run out: use more --items)")
            raise SystemExit(1) from None
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=ROOT, help="on the disk to be measured")
    parser.add_argument("-o", choices=["text", "json"], default="text")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=options.folder))
    try:
        figures = measure(folder, options.seconds, options.items, options.repeats)
    finally:
        shutil.rmtree(folder)
    if options.o == "json":
        print(json.dumps({**figures, "cores": os.cpu_count()}, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:12.2f}")


if __name__ == "__main__":
    main()
