"""The tables: what is kept of tasks, runs, units, visits, submissions and money. No verbs.

Models are unbound: every query names its database (`.execute(db)`), so two stores can be open in one process.
Ids are text, times are UTC as ISO text of fixed width (they sort), answers and signals are JSON text.

Who changes units, submissions or visits keeps the tallies (`generation.open`, `run.left`, ...) in the same transaction:
`tallies`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from enum import Enum

import peewee

from crowdstack.model import Claim, ListedState, UnitState

DONE = (UnitState.SUBMITTED, UnitState.APPROVED)


def in_sql(words: Iterable[Enum]) -> str:
    """As SQL's IN takes them: `('returned', 'timed_out')`."""
    return f"({', '.join(repr(word.value) for word in words)})"


_GONE = in_sql(state for state in ListedState if state.gone)
ON_TOP = "(intent.top_up IS NOT NULL OR intent.kind = 'top_up')"  # intents that say how visits are topped up
# True of a visit nobody will be paid for, as its provider tells: its submissions are void (a NULL is not IN anything).
VOIDED = f"(visit.state <> 'paid' AND (visit.claim = 'refuted' OR COALESCE(visit.listed, '') IN {_GONE}))"


def utc_text(at: datetime) -> str:
    """`2026-01-31T09:00:00.000000Z`: fixed width, so that text order is time order."""
    return at.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Table(peewee.Model):  # type: ignore[misc]  # peewee is untyped
    class Meta:
        legacy_table_names = False


class Identity(Table):
    """One row: who this store is to a task server (the holder of the lease)."""

    client = peewee.TextField()


class Task(Table):
    name = peewee.TextField(primary_key=True)
    pseudonym_key = peewee.BlobField()


class Generation(Table):
    """Runs whose answers count together; `--fresh` starts the next one. Tallies of its units and submissions."""

    task = peewee.ForeignKeyField(Task, column_name="task", lazy_load=False)
    open = peewee.IntegerField(default=0)
    assigned = peewee.IntegerField(default=0)
    submitted = peewee.IntegerField(default=0)
    approved = peewee.IntegerField(default=0)
    dropped = peewee.IntegerField(default=0)
    excluded = peewee.IntegerField(default=0)
    rejected = peewee.IntegerField(default=0)
    surplus = peewee.IntegerField(default=0)
    void = peewee.IntegerField(default=0)
    attempts = peewee.IntegerField(default=0)  # offers there should be
    offered = peewee.IntegerField(default=0)  # offers the server has confirmed, less withdrawals it has not
    revision = peewee.IntegerField(default=0)  # +1 whenever items or units were changed by `open_run`


class Run(Table):
    id = peewee.TextField(primary_key=True)
    task = peewee.ForeignKeyField(Task, column_name="task", lazy_load=False, index=False)
    number = peewee.IntegerField()
    generation = peewee.ForeignKeyField(Generation, column_name="generation", lazy_load=False)
    wanted = peewee.TextField()
    reached = peewee.TextField(null=True)
    settings = peewee.TextField()
    opened_at = peewee.TextField()
    closed_at = peewee.TextField(null=True)
    drain_now = peewee.BooleanField(default=False)
    drained = peewee.BooleanField(default=False)
    note = peewee.TextField(null=True)  # JSON [state, text, when]
    done = peewee.IntegerField(default=0)  # tally: units done by submissions of this run
    active = peewee.IntegerField(default=0)
    left = peewee.IntegerField(default=0)
    paid = peewee.IntegerField(default=0)
    rejected = peewee.IntegerField(default=0)
    empty = peewee.IntegerField(default=0)
    listed = peewee.IntegerField(default=0)
    unverified = peewee.IntegerField(default=0)

    class Meta:
        indexes = ((("task", "number"), True),)


class Item(Table):
    generation = peewee.ForeignKeyField(Generation, column_name="generation", lazy_load=False, index=False)
    item = peewee.TextField()
    data = peewee.TextField()

    class Meta:
        primary_key = peewee.CompositeKey("generation", "item")


class Unit(Table):
    """One piece of work. `assignment` is the hold on it now or, once done, the one whose answers count."""

    id = peewee.TextField(primary_key=True)
    generation = peewee.IntegerField()
    item = peewee.TextField()
    repeat = peewee.IntegerField()
    state = peewee.TextField()
    attempt = peewee.IntegerField(default=1)
    offered = peewee.IntegerField(default=0)  # the attempt that the server has confirmed; 0: it does not know the unit
    withdraw = peewee.BooleanField(default=False)  # the server still offers it and must not
    offered_to = peewee.TextField(null=True)
    assignment = peewee.TextField(null=True)
    run = peewee.TextField(null=True)  # of that assignment

    class Meta:
        indexes = ((("generation", "item", "repeat"), True),)
        constraints = [peewee.SQL("FOREIGN KEY (generation, item) REFERENCES item (generation, item)")]


class Visit(Table):
    """A visit as the server told of it, as its provider tells of it, or both: whichever was heard first made the row."""

    id = peewee.TextField(primary_key=True)
    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False, index=False)
    worker = peewee.TextField()
    study = peewee.TextField(null=True)  # None: only its answers were heard of (the inbox had lost its beginning)
    state = peewee.TextField()
    submissions = peewee.IntegerField(default=0)
    arrived_at = peewee.TextField(null=True)  # None: nobody came with it
    ended_at = peewee.TextField(null=True)
    reason = peewee.TextField(null=True)  # None: it has not ended, or with its inbox
    claim = peewee.TextField(default=Claim.SIGNED.value)
    claim_told = peewee.BooleanField(default=True)  # the server knows that it was verified or refuted
    submission = peewee.TextField(null=True)  # the provider's id of it
    listed = peewee.TextField(null=True)  # how it stands at the provider; the rest is what was told with that
    code = peewee.TextField(null=True)
    started_at = peewee.TextField(null=True)
    handed_in_at = peewee.TextField(null=True)
    return_asked = peewee.BooleanField(default=False)

    class Meta:
        indexes = ((("run", "state", "ended_at"), False),)


class Assignment(Table):
    id = peewee.TextField(primary_key=True)
    unit = peewee.ForeignKeyField(Unit, column_name="unit", lazy_load=False, index=False)
    visit = peewee.ForeignKeyField(Visit, column_name="visit", lazy_load=False, index=False)
    worker = peewee.TextField()
    state = peewee.TextField()  # held, submitted, returned, expired, lost
    at = peewee.TextField()


class Submission(Table):
    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False, index=False)
    unit = peewee.ForeignKeyField(Unit, column_name="unit", lazy_load=False)
    assignment = peewee.ForeignKeyField(Assignment, column_name="assignment", lazy_load=False, unique=True)
    visit = peewee.ForeignKeyField(Visit, column_name="visit", lazy_load=False, index=False)
    worker = peewee.TextField()
    inbox = peewee.TextField()
    epoch = peewee.IntegerField()
    seq = peewee.IntegerField()
    receipt = peewee.IntegerField()
    status = peewee.TextField()
    submitted_at = peewee.TextField()
    duration_s = peewee.FloatField()
    answers = peewee.TextField()
    signals = peewee.TextField()
    bundle = peewee.TextField()
    late = peewee.BooleanField()
    version = peewee.IntegerField(default=1)

    class Meta:
        indexes = ((("inbox", "epoch", "seq"), True), (("run", "receipt"), False), (("visit", "status"), False))


class Verdict(Table):
    """Every verdict ever given; the last one shows in `submission.status`."""

    submission = peewee.ForeignKeyField(Submission, column_name="submission", lazy_load=False)
    verdict = peewee.TextField()
    status = peewee.TextField()  # what became of the submission
    reason = peewee.TextField()
    by = peewee.TextField()
    version = peewee.IntegerField()
    at = peewee.TextField()


class Intent(Table):
    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False, index=False)
    key = peewee.TextField()
    kind = peewee.TextField()
    body = peewee.TextField()
    state = peewee.TextField()
    at = peewee.TextField()
    finished_at = peewee.TextField(null=True)
    result = peewee.TextField(null=True)
    study = peewee.TextField(null=True)
    places = peewee.IntegerField(null=True)
    minor = peewee.IntegerField(null=True)  # gross cost: of one place, or of a bonus
    currency = peewee.TextField(null=True)
    top_up = peewee.IntegerField(null=True)  # gross: what each visit of the study may be topped up by

    class Meta:
        indexes = ((("run", "key"), True), (("study", "places"), False), (("run", "state"), False))


class Payment(Table):
    """The ledger: one line per thing paid for, never changed but for what the provider says became of it."""

    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False)
    visit = peewee.ForeignKeyField(Visit, column_name="visit", lazy_load=False, index=False)
    purpose = peewee.TextField()
    study = peewee.TextField(index=True)
    minor = peewee.IntegerField()
    currency = peewee.TextField()
    at = peewee.TextField()
    declined = peewee.BooleanField(default=False)  # it was not paid after all

    class Meta:
        indexes = ((("visit", "purpose"), True),)


class Listing(Table):
    """Studies whose provider tells of their visits, and when it was asked last."""

    study = peewee.TextField(primary_key=True)
    at = peewee.TextField()


class Memory(Table):
    """What an adapter noted."""

    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False, index=False)
    name = peewee.TextField()
    value = peewee.TextField()

    class Meta:
        primary_key = peewee.CompositeKey("run", "name")


class Block(Table):
    """A worker whom the operator wants in no run of the task."""

    task = peewee.ForeignKeyField(Task, column_name="task", lazy_load=False, index=False)
    worker = peewee.TextField()
    reason = peewee.TextField()
    by = peewee.TextField()
    at = peewee.TextField()

    class Meta:
        primary_key = peewee.CompositeKey("task", "worker")


class Qualification(Table):
    """What the operator says a worker holds."""

    task = peewee.ForeignKeyField(Task, column_name="task", lazy_load=False, index=False)
    worker = peewee.TextField()
    name = peewee.TextField()
    score = peewee.IntegerField()
    by = peewee.TextField()
    at = peewee.TextField()

    class Meta:
        primary_key = peewee.CompositeKey("task", "name", "worker")


class Cursor(Table):
    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False, primary_key=True)
    inbox = peewee.TextField()
    epoch = peewee.IntegerField()
    seq = peewee.IntegerField()
    chain = peewee.TextField()


class Quarantine(Table):
    """What the inbox held and the tables refused, raw; the cursor has moved past it."""

    run = peewee.ForeignKeyField(Run, column_name="run", lazy_load=False)
    inbox = peewee.TextField()
    epoch = peewee.IntegerField()
    seq = peewee.IntegerField()
    raw = peewee.TextField()
    error = peewee.TextField()


TABLES: tuple[type[Table], ...] = (
    Identity, Task, Generation, Run, Item, Unit, Visit, Assignment, Submission,
    Verdict, Intent, Payment, Block, Qualification, Listing, Memory, Cursor, Quarantine,
)  # fmt: skip


_PARTIAL = [  # small: they hold only what waits for the server, or nothing where no provider tells of visits
    "CREATE INDEX unit_generation_offer_due ON unit (generation) WHERE offered < attempt AND state <> 'dropped'",
    "CREATE INDEX unit_generation_withdraw ON unit (generation) WHERE withdraw = 1",
    "CREATE INDEX unit_generation_named_again ON unit (generation) "
    "WHERE attempt > 1 AND offered_to IS NOT NULL AND state = 'open'",
    "CREATE INDEX visit_run_claim_untold ON visit (run) WHERE claim_told = 0",
    "CREATE INDEX payment_declined ON payment (study, visit) WHERE declined = 1",
    f"CREATE INDEX intent_study_top_up ON intent (study) WHERE {ON_TOP}",
    "CREATE INDEX visit_run_listed ON visit (run, listed, handed_in_at) WHERE listed IS NOT NULL",
]


def create_statements(db: peewee.Database) -> list[str]:
    """Everything an empty database needs, in order."""
    made: list[str] = []
    for table in TABLES:
        schema = peewee.SchemaManager(table, db)
        made.append(schema._create_table(safe=False).query()[0])
        made += [index.query()[0] for index in schema._create_indexes(safe=False)]
    return made + _PARTIAL
