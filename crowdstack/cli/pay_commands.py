"""`pay` and `cost`: money beside the reward, lists for panels without an interface, what it came to."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.session import (
    Session,
    check_carried_out,
    confirm,
    out,
    output_option,
    pass_session,
    say,
    spec_option,
    yes_option,
)
from crowdstack.model import Money


def amount_of(text: str) -> Money:
    try:
        amount = Money.parse(text)
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from fault
    if amount.minor <= 0:
        raise click.BadParameter(f"{amount} is not more than nothing")
    return amount


@click.group()
def pay() -> None:
    """Pay on top of the reward; payment lists of panels.

    \b
    Example:
      crowdstack pay bonus 5f3c8d1e2a9b7c6d5e4f3a2b "0.50 GBP" --reason "very thorough"
      crowdstack pay list -o csv > to_pay.csv
    """


def _bonus(name: str, meaning: str, example: str) -> click.Command:
    @click.argument("worker")
    @click.argument("amount", type=amount_of)
    @click.option("--reason", required=True, help="Why; kept with the payment.")
    @click.option(
        "--id", "payment", help="A name for this payment: the same name is paid once, however often it is asked."
    )
    @spec_option
    @yes_option
    @pass_session
    def command(
        session: Session, worker: str, amount: Money, reason: str, payment: str | None, spec: Path | None, yes: bool
    ) -> None:
        with session.project(spec) as project:
            order = project.bonus(worker, amount, reason=reason, payment=payment)
            say(render.safe_text(f"~ pay {amount} to {order.worker} for visit {order.visit}: {order.amount} with fees"))
            confirm("Pay it?", yes=yes)
            check_carried_out("payment", order.payment, project.carry_out(order))
        out(f"payment {order.payment}: {amount}")

    command.__doc__ = f"{meaning}\n\n\b\nExample:\n  {example}\n"
    return click.command(name)(command)


pay.add_command(
    _bonus(
        "bonus",
        "Pay a worker on top, by the worker's last visit (or name a visit).",
        'crowdstack pay bonus 5f3c8d1e2a9b7c6d5e4f3a2b "0.50 GBP" --reason "very thorough"',
    )
)
pay.add_command(
    _bonus(
        "compensate",
        "Make good what went wrong for a worker: a bonus, whatever became of the visit.",
        'crowdstack pay compensate 5f3c8d1e2a9b7c6d5e4f3a2b "1.00 GBP" --reason "the page failed"',
    )
)


@pay.command()
@spec_option
@pass_session
def settle(session: Session, spec: Path | None) -> None:
    """Pay what runs that are over still owe: what was refused, say for want of money, or had no result.

    \b
    Example:
      crowdstack pay settle
    """
    with session.project(spec) as project:
        refused = project.settle()
    if refused:
        raise errors.Refused(
            f"{len(refused)} payments are not done",
            why="; ".join(f"{key}: {why}" for key, why in refused.items()),
            hint="mend what is named, then the same command again",
        )
    out("nothing is owed by runs that are over")


_HEADERS = ("visit", "worker", "study", "purpose", "amount", "state")


@pay.command("list")
@spec_option
@click.option("-o", "--output", "form", type=click.Choice(("text", "csv", "json")), default="text", show_default=True)
@pass_session
def payment_list(session: Session, spec: Path | None, form: str) -> None:
    """List whom a panel without an interface is to pay, rewards and bonuses (provider generic). Worker ids are the panel's.

    \b
    Example:
      crowdstack pay list -o csv > to_pay.csv
    """
    with session.project(spec) as project:
        lines = project.panel.payments()
    rows = [
        (line.submission or line.visit, line.worker, line.study, line.purpose, str(line.amount), line.state)
        for line in lines
    ]
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADERS)
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
    else:
        out(render.records(_HEADERS, rows, form))


@pay.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@spec_option
@pass_session
def import_payments(session: Session, file: Path, spec: Path | None) -> None:
    """Take over what the panel did: a CSV file with the columns visit and state (paid or declined).

    For a bonus also purpose, as the list has it; study where the panel has one id in several. What it declined is no longer
    counted as spent.

    \b
    Example:
      crowdstack pay import paid.csv
    """
    from crowdstack.providers.generic import Said

    try:
        with file.open(encoding="utf-8-sig", newline="") as source:
            rows = csv.DictReader(source, strict=True)
            missing = [name for name in ("visit", "state") if name not in (rows.fieldnames or ())]
            if missing:
                raise errors.UsageError(f"there is no column {missing[0]!r}", where=f"{file}:1", hint="visit,state")
            said = [
                Said(
                    visit=row["visit"] or "",
                    state=row["state"] or "",
                    purpose=row.get("purpose") or "reward",
                    study=row.get("study") or None,
                )
                for row in rows
            ]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise errors.UsageError("this is no CSV file in UTF-8", where=str(file), why=str(fault)) from fault
    with session.project(spec) as project:
        news = project.import_payments(said)
    out(f"{len(said)} lines, {news} new")


@click.command()
@spec_option
@output_option("text", "json")
@pass_session
def cost(session: Session, spec: Path | None, form: str) -> None:
    """What the task has cost, may still cost, and what the provider says.

    \b
    Example:
      crowdstack cost -o json
    """
    with session.project(spec) as project:
        told, pay = project.cost(), project.pay_measured()
    rows = [(name.replace("_", " "), "unknown" if value is None else str(value)) for name, value in told.items()]
    if pay is not None:
        rows.append(("pay", str(pay)))
    out(render.to_json({**told, "pay": pay}) if form == "json" else render.table(("what", "amount"), rows))


COMMANDS = (pay, cost)
