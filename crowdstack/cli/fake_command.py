"""`crowdstack fake prolific`: a service of others on this machine, for tests, rehearsals and demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crowdstack.cli.session import out
from crowdstack.errors import Refused, UsageError

if TYPE_CHECKING:
    from crowdstack.fakes.prolific import Settings


@click.group()
def fake() -> None:
    """Play a crowd's service on this machine.

    \b
    Example:
      crowdstack fake prolific --port 8765
    """


@fake.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Listen on this port of 127.0.0.1; 0: a free one."
)
@click.option(
    "--state",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the account in this file: it survives a kill.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of ids and faults.")
@click.option(
    "--wallet",
    "money",
    metavar="AMOUNT",
    default="100.00 GBP",
    show_default=True,
    help="What is paid in when the account is new.",
)
@click.option(
    "--fees",
    type=click.Choice(("corporate", "academic", "none")),
    default="corporate",
    show_default=True,
    help="42.8 %, 33.3 % or nothing.",
)
@click.option(
    "--fault",
    "faults",
    metavar="NAME=NUMBER",
    multiple=True,
    help="What goes wrong how often, like 429=0.1 or drop_after=0.05; may be given for each.",
)
@click.option(
    "--set",
    "sets",
    metavar="NAME=VALUE",
    multiple=True,
    help="How the account behaves, like pay_lag_s=0 or freed_is_active=true; may be given for each.",
)
@click.option(
    "--speed", type=click.FloatRange(0.01, 10_000), default=1.0, show_default=True, help="Its seconds in a real one."
)
@click.option("--token", default="fake-token", show_default=True, help="The researcher's.")
@click.option(
    "--control-token",
    default="control-token",
    show_default=True,
    help="For /_fake/..., which plays time and participants.",
)
def prolific(
    port: int,
    file: Path | None,
    seed: int,
    money: str,
    fees: str,
    faults: Sequence[str],
    sets: Sequence[str],
    speed: float,
    token: str,
    control_token: str,
) -> None:
    """A fake of Prolific: its API as documented, with a wallet that can run dry. Ctrl-C ends it.

    \b
    Example:
      crowdstack fake prolific --port 8765 --state fake.db --wallet "250.00 USD" --fault 429=0.1
    """
    import asyncio
    import time

    from crowdstack.fakes.prolific import FEES_BP, FakeProlific, Faults, Service
    from crowdstack.fakes.prolific.account import CURRENCIES
    from crowdstack.fakes.prolific.clock import running
    from crowdstack.fakes.prolific.shelf import Shelf
    from crowdstack.model import Money

    try:
        wallet = Money.parse(money)
        rates = Faults(seed, {name: float(value) for name, value in map(_pair, faults)})
        settings = _settings({"fee_bp": FEES_BP.get(fees, 0)}, sets)
    except ValueError as fault:
        raise UsageError(str(fault)) from fault
    if wallet.currency not in CURRENCIES or wallet.minor < 0:
        raise UsageError(f"--wallet {money}: Prolific keeps {' or '.join(CURRENCIES)}", hint='like "100.00 GBP"')
    played = FakeProlific(
        seed=seed,
        settings=settings,
        faults=rates,
        wallet=wallet.minor,
        currency=wallet.currency,
        token=token,
        now=time.time(),
    )
    shelf = Shelf(file, played) if file else None
    service = Service(
        played,
        control_token=control_token,
        clock=running(played.now - played.world.meta.offset, speed=speed),
        keep=shelf.keep if shelf else lambda: None,
    )
    try:
        asyncio.run(_serve(service, port, played.world.meta.token))
    except OSError as fault:
        raise Refused(f"cannot listen on port {port}: {fault.strerror or fault}", hint="name another --port") from fault
    finally:
        if shelf:
            shelf.close()


async def _serve(service: Any, port: int, token: str) -> None:
    import asyncio
    import signal

    from crowdstack.fakes.prolific.http import serve

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with serve(service, port) as origin:
        out(f"{origin} plays Prolific: `Authorization: Token {token}`")
        out(f"{origin}/_fake/ plays time and participants: `Authorization: Token {service.control_token}`")
        await ended.wait()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value


def _settings(first: dict[str, Any], sets: Sequence[str]) -> Settings:
    """Settings by their names. ValueError says what is wrong with one."""
    from crowdstack.fakes.prolific import Settings

    known = {field.name: field.default for field in dataclasses.fields(Settings)}
    values = dict(first)
    for name, value in map(_pair, sets):
        if name not in known:
            raise ValueError(f"{name!r} is no setting; there are {', '.join(known)}")
        if name == "features":
            values[name] = frozenset(filter(None, value.split(",")))
        elif isinstance(known[name], bool):
            if value not in ("true", "false"):
                raise ValueError(f"{name} is true or false, not {value!r}")
            values[name] = value == "true"
        else:
            values[name] = int(value) if name.endswith("_bp") or name == "hook_retries" else float(value)
    return Settings(**values)


COMMANDS = [fake]
