"""Values -> text, tables, JSON, ndjson, Markdown. Pure: what is printed, never where.

Text that others wrote (answers, ids, messages, titles) passes `safe_text` before it reaches a terminal and stands in a
code span in Markdown (threats R6). JSON is plain ASCII, so nothing in it can act on a terminal either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from crowdstack.errors import CrowdstackError
from crowdstack.model import Money
from crowdstack.ports import GroupChange, Operation, Step

if TYPE_CHECKING:
    from crowdstack.deploy import Preview, Review, Status
    from crowdstack.plan.cost import Cost

FORMATS = ("text", "json", "ndjson", "md")

_BLANKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# C0 and C1 controls; controls of the writing direction; interlinear marks, byte-order mark and tag characters, which show nothing.
_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufeff\U000e0000-\U000e007f]"
)
_HALVES = re.compile("[\ud800-\udfff]")


# ---------------------------------------------------------------------------------------------------- foreign text


def safe_text(value: object) -> str:
    """One line that only shows: line breaks and tabs are blanks, controls are dropped, half characters are U+FFFD."""
    return _HALVES.sub("\ufffd", _ACTING.sub("", _BLANKS.sub(" ", str(value))))


def code_span(value: object) -> str:
    """Foreign text for Markdown, in a fence longer than any inside it: no link, markup or mention in it comes alive."""
    text = safe_text(value).replace("|", "\\|")
    if not text.strip():
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


# ---------------------------------------------------------------------------------------------------- data


def plain(value: Any) -> Any:
    """Values as JSON has them: money as "0.50 USD", times as ISO 8601, enums by value, dataclasses as objects."""
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def to_json(value: Any, *, indent: int | None = 2) -> str:
    return json.dumps(plain(value), ensure_ascii=True, indent=indent)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [[safe_text("" if cell is None else cell) for cell in row] for row in rows]
    right = [bool(cells) and all(row[i].replace(".", "", 1).isdigit() for row in cells) for i in range(len(headers))]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [[header.upper() for header in headers], *cells]
    )


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    lines += ["| " + " | ".join(code_span("" if cell is None else cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def records(headers: Sequence[str], rows: Iterable[Sequence[object]], form: str) -> str:
    """Rows of one shape in any of FORMATS; ndjson is one object a line."""
    if form == "text":
        return table(headers, rows)
    if form == "md":
        return markdown_table(headers, rows)
    objects = [dict(zip(headers, row, strict=True)) for row in rows]
    return to_json(objects) if form == "json" else "\n".join(to_json(item, indent=None) for item in objects)


# ---------------------------------------------------------------------------------------------------- errors


def error(fault: CrowdstackError) -> str:
    """What, where, why and what now; a spec's faults all together. Each line that is not a further detail says `error:`."""
    lines = [safe_text(line) for line in str(fault).splitlines()]
    return "\n".join(line if line.startswith(" ") else f"error: {line}" for line in lines)


# ---------------------------------------------------------------------------------------------------- preview

SIGNS = {
    Operation.CREATE: "+",
    Operation.UPDATE: "~",
    Operation.REPLACE: "+-",
    Operation.DELETE: "-",
    Operation.IMPORT: "=",
    Operation.REFRESH: "~",
    Operation.SAME: "=",
}


def step(change: Step) -> str:
    """One line of one resource."""
    line = f"{SIGNS[change.operation]:<2} {change.type} {change.name}"
    if change.replaced_by:
        line += f" (replaced: {', '.join(change.replaced_by)} cannot be changed in place)"
    elif change.changed:
        line += f" ({', '.join(change.changed)})"
    return safe_text(line)


def preview(plan: Preview) -> str:
    """The whole preview as text: edits, resources, crowd, groups, what can never be changed later, totals."""
    steps = [step(change) for change in plan.steps if change.operation is not Operation.SAME]
    crowd = [safe_text(f"{line.sign:<2} {line.text}") for line in plan.lines]
    head = f"{plan.task}: run {plan.run}" + (" (new)" if plan.new_run else "")
    parts = [
        safe_text(head),
        _section("Spec", [f"~  {safe_text(edit)}" for edit in plan.edits]),
        _section("Stack", steps or ["=  no change"]),
        _section("Crowd", crowd or ["=  no change"]),
        _section("Groups of people", [safe_text(f"{_sign(change):<2} {group(change)}") for change in plan.groups]),
        _section("Can never be changed later", [f"!  {safe_text(text)}" for text in plan.never_changes]),
        _section("Pay", pay(plan.cost)),
        _section("Notes", [safe_text(text) for text in plan.notes]),
        totals(plan),
    ]
    return "\n\n".join(part for part in parts if part)


def group(change: GroupChange) -> str:
    """One list of people at the provider, as it would be made or changed."""
    if change.made:
        return f"participant group {change.name}, with {change.joining} workers"
    return f"participant group {change.name}: {change.joining} workers join, {change.leaving} leave"


def _sign(change: GroupChange) -> str:
    return "+" if change.made else "~"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def totals(plan: Preview) -> str:
    """The last line: how many changes, and what people may cost in all."""
    if plan.target_met and not plan.changes:
        return "The target is already met: nothing to do."
    signs = [sign for _, sign, _ in preview_records(plan)]
    counted = ", ".join(
        f"{signs.count(sign)} to {verb}"
        for sign, verb in (("+", "create"), ("~", "change"), ("+-", "replace"), ("-", "delete"))
        if sign in signs
    )
    return f"{counted or 'No changes'}. {cost(plan.cost)}"


def cost(total: Cost) -> str:
    """People's cost in one line."""
    text = f"People: {total.visits} visits x {total.gross} = {total.total}, at most {total.cap}"
    rates = [f"{amount} per {per}" for amount, per in ((total.per_unit, "unit"), (total.per_hour, "hour")) if amount]
    return safe_text(text + (f" ({', '.join(rates)})" if rates else "") + ".")


def pay(total: Cost) -> list[str]:
    """What a visit's cost is made of, and how its pay stands to the provider's floor; nothing where there is neither."""
    lines = []
    if of := total.charge:
        tax = f" + {of.vat} VAT" if of.vat.minor else ""
        what = "fee" if tax else "fees"
        lines.append(f"{of.reward} reward + {of.fee} {what}{tax} = {of.gross} per visit")
    if total.pay is not None:
        better = f", recommended {total.recommended_hourly}" if total.recommended_hourly else ""
        lines.append(f"{total.per_hour} per hour: {total.pay.value} (minimum {total.minimum_hourly}{better})")
    if total.top_up is not None:
        lines.append(f"topped up by {total.top_up} at most ({total.reserve} in all) where visits take longer than said")
    return [safe_text(line) for line in lines]


def preview_data(plan: Preview) -> dict[str, Any]:
    return {**plain(plan), "changes": plan.changes}


def preview_records(plan: Preview) -> list[tuple[str, str, str]]:
    """(part, sign, text) of every line: what ndjson and Markdown print."""
    edits = [("spec", "~", edit) for edit in plan.edits]
    steps = [("stack", SIGNS[s.operation], step(s)[3:]) for s in plan.steps if s.operation is not Operation.SAME]
    crowd = [("crowd", line.sign, line.text) for line in plan.lines]
    return edits + steps + crowd + [("groups", _sign(change), group(change)) for change in plan.groups]


# ---------------------------------------------------------------------------------------------------- status


def status_data(now: Status) -> dict[str, Any]:
    """What `status -o json` promises (docs/cli.md)."""
    return {
        "task": now.task,
        "run": now.run,
        "state": now.state,
        "target": now.target,
        "done": now.done,
        "units": plain(now.units),
        "visits": plain(now.visits),
        "workers": now.workers,
        "rate_per_min": now.rate_per_min,
        "server": {"url": now.server_url, "healthy": now.server_healthy},
        "loop": {"running": now.loop_running, "note": now.loop_note},
        "links": list(now.links.values()),
        "labels": plain(now.labels),
        "spend": plain(now.spend),
        "exposure": plain(now.exposure),
        "cap": plain(now.cap),
        "budget": plain(now.budget),
        "quarantined": now.quarantined,
        "disk_low": now.disk_low,
        "pay": plain(now.pay),
        "review": plain(now.review),
        "started_at": plain(now.started_at),
    }


def status_rows(now: Status, *, links: bool = False) -> list[tuple[str, str]]:
    """The same for people: one fact a line, each with what to do where something is wrong.

    Whoever has a link is that worker: whole they stand here only when they are asked for (`links`).
    """
    units = now.units
    counts = [f"{getattr(units, name)} {name}" for name in ("open", "assigned", "submitted", "approved")]
    counts += [
        f"{getattr(units, name)} {name}" for name in ("excluded", "rejected", "surplus", "void") if getattr(units, name)
    ]
    spend = str(now.spend) if now.exposure == now.spend else f"{now.spend}, at most {now.exposure} with what is open"
    rows = [
        ("task", now.task),
        ("run", now.run or "none; `crowdstack up` begins one"),
        *([("labels", ", ".join(f"{name}={text}" for name, text in now.labels.items()))] if now.labels else []),
        ("state", now.state),
        ("done", f"{now.done} of {now.target}"),
        ("units", f"{units.total}: {', '.join(counts)}"),
        (
            "workers",
            f"{now.workers} at work" + (f", {now.rate_per_min:.0f} units a minute" if now.rate_per_min else ""),
        ),
        ("spend", spend + (f"; budget {now.budget}" if now.budget is not None else "")),
        *([("pay", str(now.pay))] if now.pay is not None else []),
        (
            "server",
            f"{now.server_url} ({'healthy' if now.server_healthy else 'no answer'})" if now.server_url else "none",
        ),
        ("reconciler", "running" if now.loop_running else "not running"),
    ]
    if now.loop_note:
        rows.append(("note", now.loop_note))
    if now.review is not None:
        rows.append(("review", review(now.review)))
    if now.disk_low:
        rows.append(("disk", "nearly full: no unit is given out until there is room; answers are still taken"))
    if now.quarantined:
        rows.append(("quarantine", f"{now.quarantined} events could not be read; they are kept: crowdstack doctor"))
    if links:
        return rows + [("link", f"{person}: {link}") for person, link in now.links.items()]
    return rows + ([("links", f"{len(now.links)} for people: crowdstack status --links")] if now.links else [])


def review(waits: Review) -> str:
    """Whose silence pays, and when."""
    who = "1 visit waits" if waits.waiting == 1 else f"{waits.waiting:,} visits wait"
    days, hours = divmod(max(waits.left_s, 0) // 3600, 24)
    left = f"in {days} d {hours} h" if waits.left_s > 0 else "by now"
    return (
        f"{who} for a verdict: `crowdstack units ls --state submitted`. The provider pays the first by itself on "
        f"{waits.due_at:%Y-%m-%d %H:%M} UTC, {left}"
    )


def status(now: Status, form: str, *, links: bool = False) -> str:
    """JSON has the links in any case: scripts are promised them."""
    if form == "json":
        return to_json(status_data(now))
    if form == "ndjson":
        return to_json(status_data(now), indent=None)
    rows = status_rows(now, links=links)
    if form == "md":
        return markdown_table(["fact", "value"], rows)
    return "\n".join(f"{name:<10}  {safe_text(value)}" for name, value in rows)


def progress(now: Status, rate_per_min: float | None) -> str:
    """The run in one line, for watching."""
    rate = "" if rate_per_min is None else f"{rate_per_min:.0f}/min  "
    budget = f" of {now.budget}" if now.budget is not None else ""
    return safe_text(
        f"{now.run or now.task}  {now.state}  {now.done}/{now.target} done  {rate}{now.workers} workers  spend {now.spend}{budget}"
    )


_SERVICES = {"prolific": "Prolific"}
_WAYS_IN = {
    "human": "the workers' links",
    "bots": "the simulated crowd",
    "replay": "the simulated crowd",
    "generic": "the link that the panel was given: end the project there too",
}


def _way_in(there: Status) -> str:
    """By what people came who cannot come any more."""
    study = f"study {there.run} at {_SERVICES.get(there.provider, there.provider)}: closed for good"
    return _WAYS_IN.get(there.crowd or there.provider, study)


def leaving(there: Status, *, now: bool) -> str:
    """What `destroy` takes away, what it waits for and what stays."""
    at_work = there.units.assigned
    people = "nobody holds a unit" if not at_work else f"{at_work} units are held by workers"
    if at_work:
        people += ": their holds end at once" if now else ": waits until they submit or their time is over"
    gone = [f"-  task server {there.server_url}"] if there.server_url else []
    gone += ["-  reconciler", f"-  {_way_in(there)}", f"-  open places of {there.run}"]
    if now and there.workers and there.provider not in ("mock", "generic"):
        inside = f"!  still inside at {_SERVICES.get(there.provider, there.provider)}: {there.workers}"
        gone.append(f"{inside}; what they hand in from now on is yours to decide on its site")
    kept = f"=  the store: answers of {there.done} units done, {there.spend} spent (a backup is made first)"
    unjudged = there.units.submitted + there.units.approved - there.done  # none where every submission counts
    if unjudged:
        gone.append(f"!  {unjudged} units wait for a verdict; given later, it still pays: `crowdstack units ls`")
    return "\n".join(
        [
            safe_text(f"{there.task}: run {there.run} is {there.state}; {people}"),
            *(f"  {safe_text(g)}" for g in gone),
            f"  {safe_text(kept)}",
        ]
    )
