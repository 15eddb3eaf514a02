"""Hooks at the task server: who may knock, what it comes to, and that it comes to nothing but a look."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from crowdstack.folder import RunFolder
from crowdstack.ports import HookKey
from crowdstack.server.client import ControlClient
from crowdstack.server.hooks import BODY, Hooks, Took
from crowdstack.server.server import TaskServer
from crowdstack.tokens import Secret
from tests.server.world import a_server, control, told

KEY = HookKey(secret=Secret(b"the-hook-secret"), event="X-Event-ID", timestamp="X-Time", signature="X-Signature")


def signed(
    body: bytes, event: str = "e1", at: str = "1700000000", secret: bytes = b"the-hook-secret"
) -> dict[str, str]:
    made = base64.b64encode(hmac.new(secret, at.encode() + body, hashlib.sha256).digest()).decode()
    return {"X-Event-ID": event, "X-Time": at, "X-Signature": made}


async def send(server: TaskServer, body: bytes, headers: dict[str, str]) -> HTTPResponse:
    request = HTTPRequest(server.origin + "/v1/hooks", method="POST", body=body, headers=headers)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def heard(client: ControlClient, within_s: float = 1.5) -> bool:
    end = time.monotonic() + within_s
    while not (hinted := client.hinted()) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return hinted


def kept(server: TaskServer) -> tuple[Any, ...]:
    """All that the server knows of the run."""
    pool = server.desk.pool
    with sqlite3.connect(server.folder.inbox) as db:
        disk = [line for line in db.iterdump() if "ballast" not in line]
    return server.inbox.seq, disk, repr((pool.visits, pool.holds, pool.studies, pool.units, pool.items))


def test_a_signed_hook_is_passed_on_at_once_and_twice_is_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server, control(server) as client:
            await client.connect(None)
            await client.set_hook_key(KEY)
            assert not client.hinted()
            assert (await send(server, b"{}", signed(b"{}"))).code == 204
            assert await heard(client)
            assert not client.hinted(), "it is told again and again"
            assert (await send(server, b"{}", signed(b"{}"))).code == 204
            again = signed(b"{}", at="1700000900")  # the provider signs a delivery that it repeats anew
            assert (await send(server, b"{}", again)).code == 204
            replayed = {**signed(b"{}"), "X-Event-ID": "another"}  # somebody listened, and the id is not signed
            assert (await send(server, b"{}", replayed)).code == 204
            assert not await heard(client)
            assert (await send(server, b"{}", signed(b"{}", "e2", "1"))).code == 204, "old ones are good"
            assert await heard(client)

    asyncio.run(story())


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b"[" * 9000, b'{"status":"APPROVED"}', b"x" * BODY])
def test_no_webhook_changes_state_by_itself(tmp_path: Path, body: bytes) -> None:
    async def story() -> None:
        async with a_server(tmp_path, units=3) as server, control(server) as client:
            await told(client) if await client.connect(None) else None
            await client.set_hook_key(KEY)
            before = kept(server)
            told_before = client._cursor
            assert (await send(server, body, signed(body))).code == 204
            assert (await send(server, body, signed(body, secret=b"guessed"))).code == 403
            assert await heard(client)
            assert await client.next_batch(0.2) is None
            assert (kept(server), client._cursor) == (before, told_before)

    asyncio.run(story())


def test_every_bit_of_signature_time_and_body_counts() -> None:
    body = json.dumps({"event_type": "submission.status.change", "resource_id": "s1"}).encode()
    good = signed(body)
    hooks = Hooks(lambda: None)
    hooks.key = KEY

    def flipped(raw: bytes, bit: int) -> bytes:
        return bytes(byte ^ (1 << bit % 8) if at == bit // 8 else byte for at, byte in enumerate(raw))

    for name in ("X-Signature", "X-Time"):
        raw = good[name].encode()
        for bit in range(8 * len(raw)):
            forged = {**good, name: flipped(raw, bit).decode("latin-1")}
            assert hooks.take(forged, body) is Took.FORGED, (name, bit)
    for bit in range(8 * len(body)):
        assert hooks.take(good, flipped(body, bit)) is Took.FORGED, bit
    assert hooks.take({**good, "X-Signature": ""}, body) is Took.FORGED
    assert hooks.take({}, body) is Took.FORGED

    async def taken() -> Took:
        return hooks.take(good, body)

    assert asyncio.run(taken()) is Took.NEWS, "the forged ones made the real one known"


def test_without_a_key_it_is_to_be_sent_again_and_too_large_is_too_large(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server, control(server) as client:
            answer = await send(server, b"{}", signed(b"{}"))
            assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
            large = b"x" * (BODY + 1)
            assert (await send(server, large, signed(large))).code == 413
            await client.connect(None)
            await client.set_hook_key(KEY)
            assert (await send(server, large, signed(large))).code == 413
            assert (await send(server, b"{}", signed(b"{}"))).code == 204, (
                "what was not taken is taken when it comes again"
            )
            assert await heard(client)
            count = {
                sample.labels["took"]: sample.value
                for metric in server.metrics.registry.collect()
                for sample in metric.samples
                if sample.name == "crowdstack_hooks_total"
            }
            assert count == {"no_key": 1, "too_large": 2, "news": 1}

    asyncio.run(story())


def test_the_key_is_nowhere_on_the_disk_and_gone_with_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server, control(server) as client:
            await client.connect(None)
            await client.set_hook_key(KEY)
            await send(server, b"{}", signed(b"{}"))
            files = [file for file in tmp_path.rglob("*") if file.is_file()]  # noqa: ASYNC240
            assert RunFolder(tmp_path / "run").inbox in files
            secret = bytes(KEY.secret)
            for file in files:
                found = file.read_bytes()
                assert secret not in found, file
                assert base64.b64encode(secret)[:18] not in found, file
        async with a_server(tmp_path) as server:
            assert (await send(server, b"{}", signed(b"{}", "e2"))).code == 503

    asyncio.run(story())


def test_who_gave_no_key_hears_of_no_hooks_and_a_new_line_does_once_it_gave_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server, control(server) as client:
            await client.connect(None)
            await client.set_hook_key(KEY)
            cursor = await client.connect(None)
            assert (await send(server, b"{}", signed(b"{}"))).code == 204, "between two lines the key is there"
            assert not await heard(client)
            assert cursor == await client.connect(cursor)
            await client.set_hook_key(KEY)
            assert (await send(server, b"{}", signed(b"{}", "e2", "2"))).code == 204
            assert await heard(client)

    asyncio.run(story())


def test_ten_thousand_hooks_are_a_word_or_two_and_the_memory_of_them_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crowdstack.server.hooks._KNOWN", 500)
    words: list[float] = []

    async def story() -> None:
        hooks = Hooks(lambda: words.append(time.monotonic()))
        hooks.key = KEY
        begun = time.monotonic()
        for n in range(10_000):
            assert hooks.take(signed(b"{}", f"e{n}", str(n)), b"{}") is Took.NEWS
            if n % 500 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(1.2)
        assert 2 <= len(words) <= time.monotonic() - begun + 1, "the last one is told too"
        assert len(hooks._known) == 1000

    asyncio.run(story())


def test_a_hook_is_known_for_two_days() -> None:
    at = 0.0

    async def story() -> None:
        nonlocal at
        hooks = Hooks(lambda: None, lambda: at)
        hooks.key = KEY
        assert hooks.take(signed(b"{}"), b"{}") is Took.NEWS
        at = 48 * 3600.0 - 1
        assert hooks.take(signed(b"{}"), b"{}") is Took.KNOWN
        at = 48 * 3600.0 + 1
        assert hooks.take(signed(b"{}"), b"{}") is Took.NEWS

    asyncio.run(story())
