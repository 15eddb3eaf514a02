"""Is this token good, and for which workspace? What `crowdstack register prolific` asks before anything is kept."""

from __future__ import annotations

from dataclasses import dataclass

from crowdstack.errors import NotFound, Refused, UsageError
from crowdstack.providers.prolific.account import Account
from crowdstack.providers.prolific.answers import Balance, Me, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the token opens. `chosen`: the workspace that will be used; None while there are several and none was named."""

    me: Me
    workspaces: tuple[Workspace, ...]
    chosen: Workspace | None
    balance: Balance | None  # of the chosen one
    created: bool = False


def check(account: Account, *, workspace: str | None = None, create: bool = False) -> Checked:
    """Ask the account. `workspace`: title or id of the one to use; made, with an empty wallet, if it is not there and
    `create` says so. CredentialsRefused when the token is not accepted; nothing is changed then, or when something is unclear.
    """
    if create and workspace is None:
        raise UsageError("--create needs a name for the new workspace", hint="--workspace NAME --create")
    me = account.fetch_me()
    there = account.fetch_workspaces()
    chosen = _chosen(there, workspace)
    created = False
    if chosen is None and workspace is not None:
        if not create:
            known = ", ".join(one.title for one in there) or "there is none"
            raise NotFound(
                f"the account has no workspace {workspace}",
                why=f"it has: {known}",
                hint="name one of these, or add --create",
            )
        chosen, created = account.create_workspace(workspace, currency=me.currency), True
        there = [*there, chosen]
    balance = None if chosen is None else account.fetch_balance(chosen.id)
    return Checked(me=me, workspaces=tuple(there), chosen=chosen, balance=balance, created=created)


def _chosen(there: list[Workspace], wanted: str | None) -> Workspace | None:
    if wanted is None:
        return there[0] if len(there) == 1 else None
    found = [one for one in there if wanted in (one.id, one.title)]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise Refused(f"{len(found)} workspaces are called {wanted}", why=ids, hint="give the id of one")
    return found[0] if found else None
