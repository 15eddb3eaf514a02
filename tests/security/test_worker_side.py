"""What strangers and workers may try on the worker's side (threats W1-W12)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClosedError, websocket_connect

from crowdstack.errors import Busy, Refused
from crowdstack.model import (
    Claim,
    EventKind,
    ItemId,
    ItemOffer,
    StudyKey,
    StudyState,
    UnitId,
    UnitOffer,
    UnitState,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.server.server import TaskServer
from crowdstack.server.settings import Settings
from crowdstack.tokens import Signer, b64, derive
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import Claims
from tests.server.world import (
    ROOT,
    RUN,
    STUDY,
    Page,
    a_server,
    blob,
    config,
    control,
    link,
    nonce,
    offer,
    told,
    unit_id,
)

Story = Callable[[TaskServer], Awaitable[None]]


def play(folder: Path, story: Story, *, units: int = 3, **changes: Any) -> None:
    async def run() -> None:
        async with a_server(folder, units=units, **changes) as server:
            await story(server)

    asyncio.run(run())


async def fetch(server: TaskServer, path: str, **request: Any) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(HTTPRequest(server.origin + path, **request), raise_error=False)


async def raw(server: TaskServer, target: str) -> bytes:
    """The status line for a request target sent as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    head = await reader.readline()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return head


def test_each_bit_of_a_link_matters(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        good = link(server.origin, "ann")
        assert server.settings.link(good, now=0) is not None
        wrong = [
            good[:at] + chr(ord(char) ^ (1 << bit)) + good[at + 1 :] for at, char in enumerate(good) for bit in range(8)
        ]
        wrong += [good[:-1], good + "A", good + "=", "", "v1..", good.replace("v1.1", "v1.2")]
        wrong += [
            link(server.origin, "ann", **claim)
            for claim in ({"run": "other-1"}, {"origin": "http://elsewhere"}, {"exp": 1})
        ]
        wrong += [link(server.origin, worker) for worker in ("*", "", "w" * 300)]
        wrong += [Signer(derive(ROOT, RUN, "session"), "session").sign({"run": RUN, "worker": "ann", "study": STUDY})]
        wrong += [Signer(derive(b"", RUN, "link"), "link").sign({"run": RUN, "worker": "ann", "study": STUDY})]
        seq = server.inbox.seq
        for token in wrong:
            assert server.settings.link(token, now=2) is None, token
        pages = {
            (await fetch(server, "/?t=" + token)).body
            for token in [wrong[0], wrong[9], link(server.origin, "*"), "nonsense"]
        }
        assert len(pages) == 1
        assert (await fetch(server, "/?t=" + wrong[9])).code == 403
        for token in (wrong[9], link(server.origin, "*"), link(server.origin, "ann", run="other-1")):
            page = await Page.open(server.origin)
            assert isinstance(await page.hello(token), frames.Error)
            assert await page.closed() == frames.LINK_REFUSED
            page.close()
        assert server.inbox.seq == seq

    play(tmp_path, story)


CLAIMS = Claims(worker="PROLIFIC_PID", submission="SESSION_ID")


def params(server: TaskServer, worker: str = "5e9a", submission: str = "60b", /, **changes: str) -> dict[str, str]:
    return {"t": link(server.origin, "*"), "PROLIFIC_PID": worker, "SESSION_ID": submission, **changes}


async def comes(server: TaskServer, with_: dict[str, str]) -> tuple[Page, frames.ToWorker]:
    page = await Page.open(server.origin)
    return page, await page.ask(frames.Hello(protocol=1, bundle="", params=with_))


def test_each_bit_of_a_link_for_everybody_matters_and_so_do_the_ids_beside_it(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        good = params(server)
        assert server.settings.visitor(good, now=0) is not None
        token = good["t"]
        wrong = [
            {**good, "t": token[:at] + chr(ord(char) ^ (1 << bit)) + token[at + 1 :]}
            for at, char in enumerate(token)
            for bit in range(8)
        ]
        wrong += [
            {**good, "t": link(server.origin, "*", **claim)}
            for claim in ({"run": "other-1"}, {"origin": "http://elsewhere"}, {"exp": 1}, {"study": ""}, {"worker": ""})
        ]
        wrong += [{name: good[name] for name in good if name != left_out} for left_out in good]
        for id_ in (
            "",
            " ",
            "a b",
            "a\n",
            "\x00",
            "ä",
            "a/b",
            "../x",
            "a&b",
            "x" * 129,
            "<b>",
            "\u202e",
            "\ud800",
            "*",
        ):
            wrong += [params(server, id_, "60b"), params(server, "5e9a", id_)]
        seq = server.inbox.seq
        for each in wrong:
            assert server.settings.visitor(each, now=2) is None, each
        pages = []
        for each in (wrong[0], wrong[9], params(server, "a b"), params(server, "5e9a", ""), {"t": token}):
            answer = await fetch(server, "/?" + urlencode(each))
            assert answer.code == 403
            pages.append(answer.body)
            page, refused = await comes(server, each)
            assert isinstance(refused, frames.Error)
            assert refused.code == "forbidden"
            assert await page.closed() == frames.LINK_REFUSED
            page.close()
        assert len(set(pages)) == 1
        assert server.inbox.seq == seq
        assert (await fetch(server, "/?" + urlencode(good))).code == 200
        for odd in ("A.b_c-d@e+f", "x" * 128):
            page, welcome = await comes(server, params(server, odd, odd))
            assert isinstance(welcome, frames.Welcome)
            page.close()

    play(tmp_path, story, claims=CLAIMS)


@pytest.mark.parametrize(
    "id_", ["{{%PROLIFIC_PID%}}", "${id}", "[ID]", "PREVIEW", "undefined", "ASSIGNMENT_ID_NOT_AVAILABLE"]
)
def test_a_link_that_a_panel_shows_without_ids_says_so_and_leads_to_the_preview(tmp_path: Path, id_: str) -> None:
    async def story(server: TaskServer) -> None:
        seq = server.inbox.seq
        for unfilled in (params(server, id_), params(server, "5e9a", id_)):
            answer = await fetch(server, "/?" + urlencode(unfilled))
            assert answer.code == 403
            assert b"without a participant's ids" in answer.body
            assert b"/?preview" in answer.body
            page, refused = await comes(server, unfilled)
            assert isinstance(refused, frames.Error)
            page.close()
        forged = await fetch(server, "/?" + urlencode(params(server, id_, t=params(server)["t"][:-1] + "!")))
        assert b"without a participant's ids" not in forged.body, "only who has the link is told more"
        assert server.inbox.seq == seq

    play(tmp_path, story, claims=CLAIMS)


async def work(server: TaskServer, worker: str, label: str, submission: str = "60b") -> int:
    """Do all there is, as this one; how many units that was."""
    page, welcome = await comes(server, params(server, worker, submission))
    assert isinstance(welcome, frames.Welcome), welcome
    for done in itertools.count():
        given = await page.next()
        if not isinstance(given, frames.Assigned):
            page.close()
            return done
        assert isinstance(await page.submit(given.assignment, {"label": label}), frames.Accepted)
    raise AssertionError


def test_forged_prolific_ids_take_no_unit_for_good(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        pool = server.desk.pool
        async with control(server) as client:
            await offer(client, [f"i{n}" for n in range(100)], places=100)
            forged, told_to_wait, answered = [], 0, set()
            for n in range(500):
                page, answer = await comes(server, params(server, f"forged{n}"))
                if isinstance(answer, frames.Wait):
                    told_to_wait += 1
                else:
                    assert isinstance(answer, frames.Welcome)
                    forged.append(VisitId(answer.visit))
                    given = await page.next()
                    if isinstance(given, frames.Assigned) and n % 2:
                        assert isinstance(await page.submit(given.assignment, {"label": "no"}), frames.Accepted)
                        answered.add(given.unit)
                page.close()
            assert (len(forged), told_to_wait) == (125, 375)
            assert len(answered) == 50
            assert not any(unit.state is UnitState.OPEN for unit in pool.units.values()), "for now they have them all"

            await client.settle_claims([(visit, Claim.REFUTED) for visit in forged])
            items = {unit.id: unit.item.id for unit in pool.units.values()}
            again = [UnitOffer(unit=UnitId(unit), item=ItemId(items[unit]), attempt=2) for unit in answered]
            await client.offer([], again)
            assert all(unit.state is UnitState.OPEN for unit in pool.units.values())
            assert (pool.studies[STUDY].taken, pool.holds) == (0, {})

            assert await work(server, "real", "yes") == 100
            events = await told(client, until=server.inbox.seq)
        bodies = [event.body for event in events if event.kind is EventKind.SUBMITTED]
        real = [body for body in bodies if body.visit not in forged]
        assert {body.unit for body in real} == set(items)
        assert [dict(body.answers) for body in real] == [{"label": "yes"}] * 100

    play(tmp_path, story, units=0, claims=CLAIMS, limits={"frames_per_s": 1e6, "burst": 10**6})


def test_a_flood_of_claims_leaves_units_for_the_real_ones(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        pool = server.desk.pool
        async with control(server) as client:
            await offer(client, [f"i{n}" for n in range(100)], places=40)
            visits = []
            for n in range(500):
                page, answer = await comes(server, params(server, f"forged{n}"))
                if isinstance(answer, frames.Welcome):
                    visits.append(VisitId(answer.visit))
                    await page.take()
                page.close()
            assert len(visits) == len(pool.holds) == 50
            assert sum(unit.state is UnitState.OPEN for unit in pool.units.values()) == 50

            page, answer = await comes(server, params(server, "real"))
            assert isinstance(answer, frames.Wait), "nobody can tell yet that this one is real"
            real = visit_of(StudyKey(STUDY), WorkerId("real"), "60b")
            await client.settle_claims([(real, Claim.VERIFIED)])
            answer = await page.ask(frames.Hello(protocol=1, bundle="", params=params(server, "real")))
            assert isinstance(answer, frames.Welcome), "the provider can, and the flood does not matter"
            await page.take()
            page.close()

            await client.settle_claims([(visit, Claim.REFUTED) for visit in visits])
            page, answer = await comes(server, params(server, "another"))
            assert isinstance(answer, frames.Welcome), "and once they are refuted anybody may come"
            await page.take()
            page.close()
            assert len(pool.holds) == 2

    play(tmp_path, story, units=0, claims=CLAIMS)


def test_nobody_ends_a_verified_visit_by_knowing_whose_it_is(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        mine, welcome = await comes(server, params(server))
        assert isinstance(welcome, frames.Welcome)
        async with control(server) as client:
            await client.connect(None)
            await client.settle_claims([(VisitId(welcome.visit), Claim.VERIFIED)])
        held = await mine.take()
        for n in range(3):
            eve, answer = await comes(server, params(server, "5e9a", f"made-up-{n}"))
            assert isinstance(answer, frames.Welcome)
            assert isinstance(await eve.next(), frames.Wait)
            eve.close()
        assert (await mine.take()).assignment == held.assignment
        assert isinstance(await mine.submit(held.assignment, {"label": "yes"}), frames.Accepted)
        mine.close()

    play(tmp_path, story, claims=CLAIMS)


def test_a_word_on_claims_that_is_none_closes_the_control_socket(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        for claim in (Claim.SIGNED, Claim.CLAIMED):
            async with control(server) as client:
                await client.connect(None)
                with pytest.raises(Busy):
                    await client.settle_claims([(VisitId("v" * 24), claim)])
        assert server.desk.pool.told == {}

    play(tmp_path, story, claims=CLAIMS)


def test_a_stolen_nonce_neither_returns_nor_blocks_anothers_receipt(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        ann, eve = await Page.of(server.origin, "ann"), await Page.of(server.origin, "eve")
        anns, eves, key = await ann.take(), await eve.take(), nonce()
        for frame in (
            frames.Submit(assignment=anns.assignment, nonce=key, answers={"label": "no"}),
            frames.Return(assignment=anns.assignment),
        ):
            answer = await eve.ask(frame)
            assert isinstance(answer, frames.Error)
            assert answer.code == "unknown_assignment"
        first = await eve.submit(eves.assignment, {"label": "no"}, key)
        second = await ann.submit(anns.assignment, {"label": "yes"}, key)
        assert isinstance(first, frames.Accepted)
        assert isinstance(second, frames.Accepted)
        assert first.receipt != second.receipt
        ann.close(), eve.close()

    play(tmp_path, story)


def test_three_bad_frames_close_the_socket_and_fewer_do_not(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        for text in (b"\xff\xfe", '{"type":"next","type":"next"}'):
            assert isinstance(await page.ask(text), frames.Error)
        await page.take()
        assert isinstance(await page.ask('{"type":"launch"}'), frames.Error)
        assert await page.closed() == frames.FAULTS
        page.close()

    play(tmp_path, story)


def test_an_oversize_frame_closes_the_socket_at_once(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        await page.socket.write_message('"' + "x" * (300 * 1024) + '"')
        assert await page.closed() == frames.TOO_LARGE
        page.close()

    play(tmp_path, story)


_ESTABLISHED = b"\1"  # the first byte of TCP_INFO


class Attack:
    """One connection of an attacker: it says `first`, then a byte of `then` ten times a second, and never reads."""

    def __init__(self, first: bytes = b"", then: bytes = b"") -> None:
        self._first, self._then = first, then
        self.dropped = 0

    async def go_on(self, port: int, over: asyncio.Event) -> None:
        """Dropped, it comes again. Once it is `over`, it stays until it is dropped."""
        while not (over.is_set() and self.dropped):
            with socket.socket() as dialled, suppress(OSError):
                dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                dialled.setblocking(False)
                await asyncio.get_running_loop().sock_connect(dialled, ("127.0.0.1", port))
                await self._stay(dialled, over)
            self.dropped += 1
            await asyncio.sleep(0.1)

    async def _stay(self, dialled: socket.socket, over: asyncio.Event) -> None:
        dialled.send(self._first)
        for at in itertools.count():
            if dialled.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _ESTABLISHED:
                return
            dialled.send(self._then[at : at + 1])
            await asyncio.sleep(0.1)
            while over.is_set() and await asyncio.get_running_loop().sock_recv(dialled, 1 << 20):
                pass  # who has not read until now sees the end only behind all that


def masked(text: str) -> bytes:
    """A frame as a client sends it, with a mask of zeros."""
    raw = text.encode()
    return (
        b"\x81"
        + (bytes([128 | len(raw)]) if len(raw) < 126 else b"\xfe" + len(raw).to_bytes(2, "big"))
        + bytes(4)
        + raw
    )


def test_slowloris_and_stalled_readers_are_dropped_while_50_workers_finish(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            items = [f"i{n}" for n in range(250)]
            await client.offer(
                [ItemOffer(item=name, data={"text": "x" * 100_000}) for name in items],
                [UnitOffer(unit=unit_id(name), item=name, attempt=1) for name in items],
            )
            await client.open_study(STUDY, places=1000, state=StudyState.OPEN)
        socket_ = f"Host: x\r\nOrigin: {server.origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        opening = (
            f"GET /v1/work HTTP/1.1\r\n{socket_}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        attacks = {
            "says nothing": [Attack() for _ in range(10)],
            "never says hello": [Attack(opening.encode()) for _ in range(10)],
            "headers byte by byte": [Attack(then=b"GET / HTTP/1.1\r\nHost: " + b"x" * 1000) for _ in range(10)],
            "body byte by byte": [
                Attack(b"POST /v1/submissions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x" * 1000)
                for _ in range(10)
            ],
            "never reads": [
                Attack(opening.encode() + masked(json.dumps(hello)) + masked('{"type":"next"}') * 200)
                for hello in (
                    {"type": "hello", "protocol": 1, "bundle": "", "params": {"t": link(server.origin, f"a{n}")}}
                    for n in range(5)
                )
            ],
        }
        over = asyncio.Event()
        attackers = [each.go_on(server.port, over) for kind in attacks.values() for each in kind]
        attacking = asyncio.gather(*attackers)

        async def cut_off(limit: str) -> int:
            key = {"Authorization": f"Bearer {b64(server.config.keys['metrics'])}"}
            text = (await fetch(server, "/metrics", headers=key)).body.decode()
            found = re.search(rf'turned_away_total{{limit="{limit}"}} (\d+)', text)
            return int(found[1]) if found else 0

        while await cut_off("write_buffer") < 5:
            pass

        async def work(name: str) -> list[frames.ToWorker]:
            page = None
            while page is None:  # as client.js does: a little later, if there was no room
                with suppress(HTTPClientError, OSError, AssertionError, WebSocketClosedError):
                    page = await Page.of(server.origin, name)
                    break
                await asyncio.sleep(0.2)
            said = [await page.submit((await page.take()).assignment, {"label": "yes"}) for _ in range(4)]
            page.close()
            return said

        said = await asyncio.gather(*(work(f"w{n}") for n in range(50)))
        assert len(server.door.strangers) <= 30
        receipts = [answer.receipt for answers in said for answer in answers if isinstance(answer, frames.Accepted)]
        assert len(receipts) == len(set(receipts)) == 200
        assert not attacking.done()
        over.set()
        await asyncio.wait_for(attacking, 20)
        assert all(each.dropped for kind in attacks.values() for each in kind)
        assert await cut_off("waiting_per_address")

    limits = {"hello_s": 1.0, "waiting_per_address": 30, "burst": 200, "write_buffer": 256 * 1024}
    play(tmp_path, story, units=0, limits=limits)


def test_a_reader_that_stalls_is_cut_off(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        (there,) = server.door.sockets
        assert there.ws_connection is not None
        for _ in range(20_000):  # nobody reads these
            if there not in server.door.sockets or there.ws_connection is None:
                break
            there._send(frames.Error(code="bad_frame", message="x" * 2000))
            await asyncio.sleep(0)
        assert there not in server.door.sockets
        assert await page.closed() is None  # the connection just ends; a client that reads on gets there
        page.close()

    play(tmp_path, story, limits={"write_buffer": 64 * 1024})


def test_a_remote_ref_is_never_fetched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        schema = {"$ref": f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"}
        with pytest.raises(Refused, match="refers to"):
            Settings(config(tmp_path / "blobs", answers=schema))
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_pattern_is_not_tried_on_a_long_text(tmp_path: Path) -> None:
    settings = Settings(config(tmp_path / "blobs", answers={"properties": {"x": {"pattern": "^a+$"}}}))
    assert settings.faults({"x": "a" * 4096}) == ()
    assert len(settings.faults({"x": "a" * 4097})) == 1


def test_no_frame_or_file_holds_a_gold_or_another_units_text(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            await client.offer(
                [ItemOffer(item=f"i{n}", data={"text": f"CANARY-{n}"}) for n in range(3)],
                [UnitOffer(unit=unit_id(f"i{n}"), item=f"i{n}", attempt=1) for n in range(3)],
            )
            await client.open_study(STUDY, places=9, state=StudyState.OPEN)
        page = await Page.of(server.origin, "ann")
        unit = await page.take()
        seen = frames.TO_WORKER.to_json(unit) + frames.TO_WORKER.to_json(await page.next())
        own = unit.data["text"]
        for path in (
            "/",
            "/client.js",
            "/images/a.png",
            "/sample.json",
            "/server.json",
            "/inbox.db",
            "/healthz",
            "/metrics",
        ):
            seen += (await fetch(server, path)).body.decode("latin-1")
        assert own in seen
        assert not [f"CANARY-{n}" for n in range(3) if f"CANARY-{n}" != own and f"CANARY-{n}" in seen]
        assert b64(derive(ROOT, RUN, "link")) not in seen
        page.close()

    play(tmp_path, story, units=0)


def test_a_thousand_traversals_are_404(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    steps = [
        "..",
        "%2e%2e",
        "%2E.",
        "..%2f",
        "%2e%2e%2f",
        "..%5c",
        "..\\",
        "%252e%252e",
        "....//",
        ".%00.",
        "%c0%ae%c0%ae",
    ]
    starts = ["/", "/images/", "/images/a.png/", "//", "/./", "/client.js/", "/%2f", "/blobs/", "/~/"]
    ends = [
        "secret",
        "etc/passwd",
        "run/inbox.db",
        "run/server.json",
        ".git/config",
        "%73ecret",
        "secret%00.png",
        "secret;a.png",
        "secret#",
        ".",
    ]
    targets = [start + "/".join([step] * 2) + "/" + end for start in starts for step in steps for end in ends]
    assert len(targets) > 950

    async def story(server: TaskServer) -> None:
        planted = tmp_path / "blobs" / "planted"
        planted.symlink_to(tmp_path / "secret")
        for target in [
            *targets,
            "/planted",
            "/blobs/planted",
            "/images",
            "/images/",
            "/IMAGES/A.PNG",
            "/images/a.png/",
        ]:
            head = await raw(server, target)
            assert b" 404 " in head or b" 400 " in head, (target, head)
        assert b" 200 " in await raw(server, "/images/a.png")

    play(tmp_path, story, units=0)


def test_a_damaged_blob_is_not_served(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        (tmp_path / "blobs" / blob(tmp_path / "blobs", b"\x89PNG")).write_bytes(b"something else")
        assert (await fetch(server, "/images/a.png")).code == 500

    play(tmp_path, story, units=0)


def test_foreign_origin_and_simple_posts_are_refused(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        url = server.origin.replace("http", "ws") + "/v1/work"
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": server.origin + "0"}):
            with pytest.raises(HTTPClientError, match="403"):
                await websocket_connect(HTTPRequest(url, headers=headers))
        with pytest.raises(HTTPClientError, match="403"):
            await websocket_connect(
                HTTPRequest(url.replace("work", "control"), headers={"Origin": "http://evil.example"})
            )
        page = await Page.of(server.origin, "ann")
        unit = await page.take()
        body = json.dumps(
            {"type": "submit", "assignment": unit.assignment, "nonce": nonce(), "answers": {"label": "yes"}}
        )
        bearer = {"Authorization": f"Bearer {page.session}"}
        asked = {"method": "POST", "body": body}
        plain = {"Content-Type": "text/plain", **bearer}
        right = {"Content-Type": "application/json", **bearer}
        assert (await fetch(server, "/v1/submissions", headers=plain, **asked)).code == 403
        assert (
            await fetch(server, "/v1/submissions", headers={**right, "Origin": "http://evil.example"}, **asked)
        ).code == 403
        assert (
            await fetch(server, "/v1/submissions", headers={"Content-Type": "application/json"}, **asked)
        ).code == 401
        seq = server.inbox.seq
        first = await fetch(server, "/v1/submissions", headers=right, **asked)
        assert (first.code, json.loads(first.body)["type"]) == (200, "accepted")
        again = await fetch(server, "/v1/submissions", headers=right, **asked)
        assert again.body == first.body
        assert server.inbox.seq == seq + 1
        page.close()

    play(tmp_path, story)


def test_every_answer_closes_the_doors_of_the_browser(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        for path in ("/", "/client.js", "/nothing", "/healthz", "/?t=x", "/sample.json"):
            headers = (await fetch(server, path)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "Set-Cookie" not in headers
        page = await fetch(server, "/")
        scripts = page.headers["Content-Security-Policy"].partition("script-src ")[2].partition(";")[0]
        assert "unsafe-inline" not in scripts
        assert scripts.count("sha256-") == 1
        assert b'<meta name="crowdstack-bundle" content="' + b"b" * 64 in page.body

    play(tmp_path, story, units=0)


def test_no_log_line_holds_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(server: TaskServer) -> None:
        token = link(server.origin, "ann")
        await fetch(server, "/?t=" + token)
        await fetch(server, "/?t=" + token + "x")
        await fetch(server, "/nothing?t=" + token)
        page = await Page.of(server.origin, "ann")
        await page.ask('{"type":"' + token)
        (tmp_path / "blobs" / server.config.files["/client.js"].blob).unlink()
        assert (await fetch(server, "/client.js?t=" + token)).code == 500
        page.close()
        there = params(server, "canary-worker", "canary-submission")
        await fetch(server, "/?" + urlencode(there))
        await fetch(server, "/?" + urlencode({**there, "PROLIFIC_PID": "canary-worker {{x}}"}))
        other, _ = await comes(server, there)
        await other.take()
        other.close()
        text = caplog.text
        assert "canary" not in text
        for secret in (token, there["t"], page.session, token.split(".")[3], *(b64(key) for key in server.config.keys.values())):
            assert secret not in text
        assert "/client.js" in text

    play(tmp_path, story, claims=CLAIMS)


def test_metrics_without_authentication_is_404(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        key = b64(derive(ROOT, RUN, "metrics"))
        wrong = [None, "Bearer ", f"Bearer {key}x", f"Basic {base64.b64encode(key.encode()).decode()}", key]
        for header in wrong:
            headers = {} if header is None else {"Authorization": header}
            assert (await fetch(server, "/metrics", headers=headers)).code == 404
        answer = await fetch(server, "/metrics", headers={"Authorization": f"Bearer {key}"})
        assert answer.code == 200
        assert b"crowdstack_inbox_synchronous 2.0" in answer.body

    play(tmp_path, story, units=0)
