"""Whose token is it, and which workspaces may it use? What `register` asks before a currency is known; the rest is `api`."""

from __future__ import annotations

from crowdstack.providers.prolific.answers import Balance, Me, Workspace
from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.money import checked_id
from crowdstack.providers.prolific.transport import Transport


class Account:
    """The verbs of an account."""

    def __init__(self, http: Transport) -> None:
        self.http = http

    def fetch_me(self) -> Me:
        return self.http.get("me", "/users/me/").read(Me.read)

    def fetch_workspaces(self) -> list[Workspace]:
        return list(self.http.pages("workspaces", "/workspaces/", Workspace.read, {"limit": 200}))

    def create_workspace(self, title: str, *, currency: str | None = None) -> Workspace:
        """A new one with an empty wallet. Not idempotent: see first whether it is there."""
        body = {"title": title} if currency is None else {"title": title, "currency_code": currency}
        return self.http.write("create_workspace", "POST", "/workspaces/", body).read(Workspace.read)

    def fetch_balance(self, workspace: str) -> Balance:
        return self.http.get("balance", f"/workspaces/{checked_id(workspace)}/balance/").read(Balance.read)

    def open(self, workspace: str) -> Prolific:
        """The verbs of one workspace. Its currency, which no later answer repeats, is asked for here."""
        return Prolific(self.http, workspace=workspace, currency=self.fetch_balance(workspace).currency)
