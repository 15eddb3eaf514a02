"""`register`: give crowdstack the token of an account at a provider, see which ones it has, take one away."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from crowdstack.cli import render
from crowdstack.cli.session import out, output_option, say
from crowdstack.errors import UsageError
from crowdstack.tokens import Secret

if TYPE_CHECKING:
    from crowdstack.providers.credentials import Registered
    from crowdstack.providers.prolific.registration import Checked

_COLUMNS = ("provider", "account", "who", "workspace", "kept", "origin", "checked")


@click.command()
@click.argument("provider", required=False, type=click.Choice(("prolific",)))
@click.option("--account", metavar="NAME", help="A name for this account, where you have several (default: default).")
@click.option("--workspace", metavar="NAME", help="The workspace to use: its title or id.")
@click.option("--create", is_flag=True, help="Make the workspace if the account has none of that name.")
@click.option("--list", "listing", is_flag=True, help="List what is registered; no token is shown.")
@click.option("--forget", is_flag=True, help="Take the token of this account away from here.")
@output_option(*render.FORMATS)
def register(
    provider: str | None,
    account: str | None,
    workspace: str | None,
    create: bool,
    listing: bool,
    forget: bool,
    form: str,
) -> None:
    """Give crowdstack the API token of your account at PROVIDER. It is asked for without echo, or read from stdin; checked
    at once with the provider; and kept in the system's keyring if there is one, else in a file that only you can read.
    `CROWDSTACK_PROLIFIC_TOKEN` in the environment goes before what is registered.

    \b
    Example:
      crowdstack register prolific
      crowdstack register prolific --account lab --workspace "Bird lab" < token.txt
      crowdstack register --list
      crowdstack register prolific --account lab --forget
    """
    from crowdstack import wiring

    if listing:
        if forget or account or workspace or create:
            raise UsageError("--list goes alone, or with a provider", hint="crowdstack register --list")
        found = [one for one in wiring.safe().accounts() if provider in (None, one.provider)]
        out(render.records(_COLUMNS, map(_row, found), form) if found or form != "text" else "nothing is registered")
        return
    if provider is None:
        raise UsageError("which provider?", hint="crowdstack register prolific")
    if forget:
        gone = wiring.safe().forget(provider, account)
        out(f"forgot account {gone.account} at {provider}")
        say("The token itself lives on: delete it on the provider's site if others may have seen it.")
        return
    kept, checked = wiring.register_prolific(_token(), account=account, workspace=workspace, create=create)
    out(render.to_json(_fields(kept, checked)) if form != "text" else _told(kept, checked))


def _token() -> Secret:
    """From whoever sits there, without echo, or from stdin. Never from the command line, which others can see."""
    if sys.stdin.isatty():
        return Secret(str(click.prompt("API token", hide_input=True, err=True)).strip().encode())
    text = sys.stdin.readline(4096).strip()
    if not text:
        raise UsageError("no token came in", hint="crowdstack register prolific < token.txt, or run it in a terminal")
    return Secret(text.encode())


def _told(kept: Registered, checked: Checked) -> str:
    lines = [f"registered {checked.me.email} at {kept.provider} as account {kept.account}, kept in {_place(kept)}"]
    if checked.chosen is None:
        names = ", ".join(one.title for one in checked.workspaces) or "none"
        lines.append(f"workspaces: {names}")
        lines.append("next: choose one: crowdstack register prolific --workspace NAME")
    else:
        assert checked.balance is not None
        made = "made workspace" if checked.created else "workspace"
        lines.append(f"{made} {checked.chosen.title}: {checked.balance.available} of {checked.balance.total} available")
        lines.append("crowdstack can make studies there, approve and reject submissions, and pay from that balance.")
        if checked.balance.available.minor <= 0:
            lines.append("next: put money into the workspace on the site; until then no study can be published")
    return "\n".join(render.safe_text(line) for line in lines)


def _fields(kept: Registered, checked: Checked) -> dict[str, object]:
    balance = checked.balance
    return {
        **dict(zip(_COLUMNS, _row(kept), strict=True)),
        "workspaces": [one.title for one in checked.workspaces],
        "available": balance and balance.available,
        "total": balance and balance.total,
    }


def _row(one: Registered) -> tuple[str | None, ...]:
    return (one.provider, one.account, one.who, one.workspace_name, one.kept, one.origin, one.checked_at)


def _place(kept: Registered) -> str:
    from crowdstack import wiring

    return "the keyring" if kept.kept == "keyring" else os.fspath(wiring.safe().path)


COMMANDS = (register,)
