"""Webhooks in a whole run: a fake Prolific, the real server and the loop, and hooks that come twice, late, forged or never."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from crowdstack import wiring
from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused
from crowdstack.fakes.prolific import FakeProlific, Faults, InProcessTransport, Service, Settings
from crowdstack.fakes.prolific.hooks import signature
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.folder import Folder, RunFolder
from crowdstack.model import Money, RunId, RunState, StudyKey
from crowdstack.ports import HookKey
from crowdstack.providers.mock import MockProvider
from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.provider import ProlificProvider
from crowdstack.providers.prolific.transport import Transport
from crowdstack.reconcile.loop import reconcile
from crowdstack.server.client import ControlClient
from crowdstack.server.server import TaskServer, serve
from crowdstack.store.store import PeeweeStore
from crowdstack.tokens import Secret, derive
from crowdstack.wire import worker as frames
from tests.contracts.store import NOW, TASK, items
from tests.plan.builders import CENTS_5, desired
from tests.reconcile.stage import Crowd, Stage
from tests.server.test_claims import CLAIMS
from tests.server.world import ROOT, Page, config, link

UNITS = 4
REWARD = Money(50, "USD")
SETTINGS = {
    "type": "prolific",
    "minutes": 5,
    "codes": {"done": "DONE1234", "nothing": "NONE1234"},
    "fee_bp": 4280,
    "vat_bp": 0,
    "webhooks": True,
}


class RealClock:
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Town:
    """An account in real time, a run of four units and people who do one each."""

    def __init__(self, folder: Path, faults: dict[str, float]) -> None:
        self.folder = folder
        fake = FakeProlific(
            wallet=100_000,
            currency="USD",
            faults=Faults(7, faults),
            settings=Settings(pay_lag_s=0, publishing_s=0),
            now=time.time(),
        )
        self.service = Service(fake, clock=time.time)
        self.store = PeeweeStore(folder / "store.db")
        wish = replace(desired(items=UNITS, reward=REWARD), task=TASK, provider=SETTINGS)
        settings = {"desired": wish.to_settings()}
        rows = items(*(f"item-{n}" for n in range(UNITS)))
        self.run = self.store.open_run(TASK, settings=settings, items=rows, repeats=1, fresh=False, now=NOW)
        self.answered: Counter[int] = Counter()  # hooks, by the status that they were answered with
        self.forge = False

    def provider(self) -> ProlificProvider:
        http = Transport(Secret(b"fake-token"), adapter=InProcessTransport(self.service, threading.Event().wait))
        return ProlificProvider(
            Prolific(http, workspace=self.service.fake.workspace.id, currency="USD"),
            SETTINGS,
            page=lambda key: "https://study.example.org/?t=signed",
            memory=self.store.memory,
            runs=lambda: [self.run.id],
            now=lambda: datetime.now(timezone.utc),
            monotonic=time.monotonic,
            pace_s=(0.2, 1.0),
        )

    async def live(self) -> None:
        root = self.folder / "run"
        root.mkdir(mode=0o700)
        keys = {name: derive(ROOT, self.run.id, name) for name in ("link", "session", "control", "metrics")}
        made = replace(config(self.folder / "blobs", claims=CLAIMS), run=self.run.id, keys=keys)
        async with serve(made, RunFolder(root), self.folder / "blobs") as server:
            with closing(self.provider()) as provider:
                others = [asyncio.ensure_future(self.people(server)), asyncio.ensure_future(self.courier(server))]
                await asyncio.wait_for(
                    reconcile(
                        self.run.id,
                        store=self.store,
                        control_factory=lambda: ControlClient(server.origin, keys["control"], "store-0000000000000"),
                        provider=provider,
                        crowd=Crowd(),  # type: ignore[arg-type]
                        revive=lambda: None,
                        tear_down=lambda: None,
                        backup=str(self.folder / "backup.db"),
                        clock=RealClock(),
                        log=logging.getLogger("tests.reconcile"),
                        hooks_at=lambda: server.origin + "/v1/hooks",
                    ),
                    60,
                )
                for other in others:
                    other.cancel()
                for done in await asyncio.gather(*others, return_exceptions=True):
                    assert isinstance(done, asyncio.CancelledError), repr(done)

    async def people(self, server: TaskServer) -> None:
        number = 0
        while True:
            await asyncio.sleep(0.1)
            worker = f"p{number}"
            with self.service.paused() as fake:
                free = fake.open_studies(worker)
                submission = fake.reserve(free[0].id, worker).id if free else None
                if submission:
                    fake.start(submission)
            if submission is None:
                continue
            number += 1
            worked = await self.work(server, worker, submission)
            with self.service.paused() as fake, suppress(Refusal):
                fake.complete(submission, "DONE1234") if worked else fake.give_back(submission)

    async def work(self, server: TaskServer, worker: str, submission: str) -> bool:
        page = await Page.open(server.origin)
        token = link(server.origin, "*", run=self.run.id, study=self.run.id)
        params = {"t": token, "PROLIFIC_PID": worker, "SESSION_ID": submission}
        try:
            for _ in range(50):
                answer = await page.ask(frames.Hello(protocol=1, bundle="", params=params, session=None))
                if isinstance(answer, frames.Welcome):
                    unit = await page.next()
                    if isinstance(unit, frames.Assigned):
                        return isinstance(await page.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
                    return False
                if isinstance(answer, frames.Done):
                    return False
                await asyncio.sleep(0.1)
            return False
        finally:
            page.close()

    async def courier(self, server: TaskServer) -> None:
        """Brings hooks, and beside them such as somebody made up: without the secret, and with it."""
        while True:
            await asyncio.sleep(0.05)
            self.service.tick()
            for found in self.service.deliveries():
                ok = await self.bring(found.url, found.body, dict(found.headers))
                self.service.delivered(found.event, ok)
            secrets = list(self.service.fake.world.secrets.values())
            if self.forge and secrets:
                lie = {"event_type": "submission.status.change", "resource_id": "x", "status": "APPROVED"}
                body, at = json.dumps(lie).encode(), str(time.time())
                for secret in (secrets[0].value, "guessed"):
                    headers = {
                        "X-Event-ID": at + secret,
                        "X-Prolific-Request-Timestamp": at,
                        "X-Prolific-Request-Signature": signature(secret, at, body),
                    }
                    await self.bring(server.origin + "/v1/hooks", body, headers)

    async def bring(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        request = HTTPRequest(url, method="POST", body=body, headers=headers)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        self.answered[answer.code] += 1
        return answer.code == 204

    def ended_right(self) -> None:
        assert self.store.run(self.run.id).reached is RunState.DESTROYED
        assert self.store.unit_counts(self.run.id).submitted == UNITS
        with self.service.paused() as fake:
            approved = [found.id for found in fake.world.submissions.values() if found.status.value == "APPROVED"]
            lines = fake.wallet_lines()
            assert Counter(line.submission for line in lines) == Counter(approved)
            assert len(approved) == UNITS
            assert sum(effect.verb == "publish" for effect in fake.effects()) == 1
            assert not fake.world.subscriptions, "hooks are still subscribed to"
        assert self.store.open_intents(self.run.id) == []


@pytest.mark.parametrize(
    ("faults", "forge"),
    [
        ({"hook_twice": 1.0, "hook_late_s": 1.0}, False),
        ({"hook_twice": 0.5, "hook_late_s": 1.0, "hook_lost": 0.4, "hook_failed": 0.4}, True),
        ({"hook_lost": 1.0}, False),
    ],
    ids=["twice and out of order", "some lost, some forged", "all lost"],
)
def test_whatever_becomes_of_the_hooks_the_run_ends_right(
    tmp_path: Path, faults: dict[str, float], forge: bool
) -> None:
    town = Town(tmp_path, faults)
    town.forge = forge
    asyncio.run(town.live())
    town.ended_right()
    print(f"\n{dict(town.answered)}; {sum(town.service.requests.values())} requests")
    if faults.get("hook_lost") == 1.0:
        assert not town.answered
    else:
        assert town.answered[204] >= UNITS
    assert (town.answered[403] > 0) is forge
    town.store.close()


# ---------------------------------------------------------------------------------------------------- the loop alone

AT = "https://study.example.org/v1/hooks"
KEY = HookKey(secret=Secret(b"s"), event="E", timestamp="T", signature="S")


class Watched(MockProvider):
    """A provider that has hooks; what it was asked is in `asked`."""

    says: Exception | None = None

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked: list[str] = []

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        self.asked.append(f"watch {at}")
        if self.says is not None:
            raise self.says
        return KEY

    def unwatch(self, key: StudyKey, at: str) -> None:
        self.asked.append(f"unwatch {at}")
        if self.says is not None:
            raise self.says

    def hint(self, key: StudyKey) -> None:
        self.asked.append("hint")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.provider.close()
    stage.provider = Watched(tmp_path / "mock.db")
    stage.hooks_at = AT
    yield stage
    stage.close()


def asked(here: Stage) -> list[str]:
    assert isinstance(here.provider, Watched)
    return here.provider.asked


def test_a_run_is_watched_from_its_study_on_until_its_end(here: Stage) -> None:
    here.live()
    assert here.reached is RunState.DESTROYED
    assert asked(here)[:2] == [f"watch {AT}", "hint"]
    assert asked(here)[-1] == f"unwatch {AT}"
    assert asked(here).count(f"watch {AT}") == 1
    assert here.server.hook_key == KEY


def test_a_hook_has_the_provider_look_soon(here: Stage) -> None:
    here.server.hooked = True
    here.live()
    assert asked(here)[0] == "hint"
    assert not here.server.hooked


def test_a_new_line_is_told_the_key_and_the_provider_is_not_asked_for_it_again(here: Stage) -> None:
    here.server.line_breaks = 3
    here.live()
    assert here.reached is RunState.DESTROYED
    assert here.server.said.count("hooks") == 1 + here.server.said[here.server.said.index("hooks") :].count("connect")
    assert here.server.said.count("hooks") > 1
    assert asked(here).count(f"watch {AT}") == 1


@pytest.mark.parametrize(
    "fault", [Busy("ask later"), Refused("the account has no hooks"), CredentialsRefused("not allowed")]
)
def test_where_there_are_no_hooks_the_log_says_so_and_the_run_goes_on(
    here: Stage, fault: CrowdstackError, caplog: pytest.LogCaptureFixture
) -> None:
    Watched.says = fault
    try:
        here.live()
    finally:
        Watched.says = None
    assert here.reached is RunState.DESTROYED
    assert here.provider.spent() == CENTS_5 * 4
    assert here.server.hook_key is None
    assert f"no webhooks for now, the provider is looked at every so often: {fault}" in caplog.text
    assert asked(here).count(f"watch {AT}") <= 2


def test_without_an_address_that_the_provider_can_reach_nothing_is_asked(here: Stage) -> None:
    here.hooks_at = None
    here.live()
    assert here.reached is RunState.DESTROYED
    assert asked(here) == []


@pytest.mark.parametrize(
    ("origin", "at"),
    [
        ("https://study.example.org", "https://study.example.org/v1/hooks"),
        ("http://127.0.0.1:8080", None),
        (None, None),
    ],
)
def test_hooks_come_to_the_public_https_address_of_the_server_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str | None, at: str | None
) -> None:
    found: list[str | None] = []

    async def loop(_: Any, **given: Any) -> None:
        found.append(given["hooks_at"]())

    monkeypatch.setattr("crowdstack.reconcile.loop.reconcile", loop)
    server = None if origin is None else wiring.Server(run="r", origin=origin, dial="http://127.0.0.1:8080", keys={})
    project: Any = SimpleNamespace(
        folder=Folder(tmp_path),
        store=SimpleNamespace(run=lambda _: None),
        deployment=None,
        provider=None,
        clock=None,
        server=lambda: server,
    )
    wiring._keep_so(project, RunId("r"))
    assert found == [at]
