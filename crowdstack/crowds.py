"""Which provider and which crowd a run has: its settings -> adapters. A part of the wiring."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Protocol, cast

from crowdstack import tokens
from crowdstack.errors import Refused
from crowdstack.folder import Folder, private_folder
from crowdstack.model import Money, Run, StudyKey, TaskName, WorkerId
from crowdstack.plan.desired import Desired
from crowdstack.plugin import Opening, find_plugin
from crowdstack.ports import Provider, Store
from crowdstack.providers.generic import GenericProvider
from crowdstack.providers.mock import MockProvider
from crowdstack.providers.mock_crowd import MockCrowd


class OpenProvider(Provider, Protocol):
    """A provider that holds something open."""

    def close(self) -> None: ...


def open_provider(
    settings: Mapping[str, Any],
    *,
    folder: Folder,
    task: TaskName,
    store: Callable[[], Store],
    wallet: Callable[[], Money | None],
    page: Callable[[StudyKey], str],
) -> OpenProvider:
    """The adapter that `settings` (Desired.provider) names. What its account says (CredentialsMissing, Busy, Refused) its first
    verb says: whoever only looks at our own state needs neither account nor network."""
    kind = settings["type"]
    if kind == "mock":
        return MockProvider(folder.mock_books, task=task, wallet=wallet)
    if kind == "generic":
        return GenericProvider(folder.panel_books, settings, task=task)
    if kind == "prolific":
        return cast(OpenProvider, _Late(lambda: _prolific(settings, task=task, store=store, page=page)))
    if kind == "plugin":
        return cast(
            OpenProvider, _Late(lambda: _plugged_in(settings, folder=folder, task=task, store=store, page=page))
        )
    raise Refused(f"this crowdstack knows no provider {kind!r}", hint="use a newer one")


class _Late:
    """A provider that is opened when it is first asked for something, and again if that failed."""

    def __init__(self, open_: Callable[[], Provider]) -> None:
        self._open = open_
        self._opened: Provider | None = None

    def __getattr__(self, verb: str) -> Any:
        if self._opened is None:
            self._opened = self._open()
        return getattr(self._opened, verb)

    def close(self) -> None:
        close = getattr(self._opened, "close", None)  # a plugin's may have nothing to close
        if close is not None:
            close()


def _plugged_in(
    settings: Mapping[str, Any],
    *,
    folder: Folder,
    task: TaskName,
    store: Callable[[], Store],
    page: Callable[[StudyKey], str],
) -> Provider:
    own = folder.root / f"provider-{settings['name']}"
    return find_plugin(settings["name"]).open(
        Opening(
            settings=settings["settings"],
            task=task,
            folder=private_folder(own),
            memory=lambda run: store().memory(run),
            runs=lambda: [run.id for run in store().runs(task)],
            page=page,
            now=lambda: datetime.now(timezone.utc),
            monotonic=time.monotonic,
        )
    )


def of_plugin(settings: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the reconciler needs of the environment for the credentials of a plugin; nothing for other providers."""
    wanted = find_plugin(settings["name"]).environment if settings["type"] == "plugin" else ()
    return {name: environment[name] for name in wanted if name in environment}


def _prolific(
    settings: Mapping[str, Any], *, task: TaskName, store: Callable[[], Store], page: Callable[[StudyKey], str]
) -> OpenProvider:
    from crowdstack.providers.credentials import DEFAULT, Safe
    from crowdstack.providers.prolific.account import Account
    from crowdstack.providers.prolific.provider import ProlificProvider
    from crowdstack.providers.prolific.transport import Transport

    account = settings.get("account")
    found = Safe().find("prolific", None if account == DEFAULT else account)
    account = Account(Transport(found.token, origin=found.origin))
    workspace = _workspace(account, settings.get("workspace") or found.workspace)
    return ProlificProvider(
        account.open(workspace),
        settings,
        page=page,
        memory=lambda run: store().memory(run),
        runs=lambda: [run.id for run in store().runs(task)],
        now=lambda: datetime.now(timezone.utc),
        monotonic=time.monotonic,
    )


def _workspace(account: Any, wanted: str | None) -> str:
    found = account.fetch_workspaces()
    for workspace in found:
        if wanted in (workspace.id, workspace.title):
            return str(workspace.id)
    names = ", ".join(repr(workspace.title) for workspace in found)
    if wanted is not None:
        raise Refused(
            f"the account has no workspace {wanted!r}",
            why=f"it has {names or 'none'}",
            hint="provider.workspace; `crowdstack register prolific --workspace NAME --create` makes one",
        )
    if len(found) != 1:
        raise Refused(
            "which workspace is not said", why=f"the account has {names or 'none'}", hint="provider.workspace"
        )
    return str(found[0].id)


def page_for_all(origin: str, key: tokens.Secret, run: Run, provider: str) -> str:
    """The one link that a provider shows to everybody: signed for the study, not for a worker (threats 5.2)."""
    claims = tokens.link_claims(
        run=run.id,
        study=run.id,
        provider=provider,
        worker="*",
        origin=origin,
        issued=int(run.opened_at.timestamp()),
        expires=None,
    )
    return tokens.link_url(origin, tokens.Signer(key, "link").sign(claims))


class CrowdOfStack:
    """ports.Crowd of a run: there once its stack has a server to come to, and nobody before. `settings`: the run's as they
    are now; `find` is asked again when they have changed. Real crowds come by themselves: none is found."""

    def __init__(self, find: Callable[[], MockCrowd | None], settings: Callable[[], object]) -> None:
        self._find, self._settings = find, settings
        self._found: MockCrowd | None = None
        self._found_for: object = None

    def _crowd(self) -> MockCrowd | None:
        now = self._settings()
        if self._found is None or now != self._found_for:
            self._found, self._found_for = self._find(), now
        return self._found

    def ensure(self) -> None:
        if (crowd := self._crowd()) is not None:
            crowd.ensure()

    def running(self) -> bool:
        crowd = self._crowd()
        return crowd is not None and crowd.running()

    def stop(self) -> None:
        if (crowd := self._crowd()) is not None:
            crowd.stop()

    def links(self) -> Mapping[WorkerId, str]:
        crowd = self._crowd()
        return {} if crowd is None else crowd.links()


def open_crowd(folder: Folder, run: Run, *, origin: str, link_key: tokens.Secret) -> MockCrowd | None:
    """The mock provider's crowd; None where people come from somewhere else."""
    desired = Desired.from_settings(run.settings["desired"], run=run.id)
    if not desired.crowd:
        return None
    return MockCrowd(
        folder.run(run.id).crowd,
        desired.crowd,
        run=run.id,
        task=run.task,
        study=desired.study,
        origin=origin,
        link_key=link_key,
        answers=run.settings["stack"]["answers"],
        opened_at=run.opened_at,
    )
