"""A stage for whole runs: a project folder, the real command in its own process, the real server, reconciler and crowd.

The oracle is what people care about: every `accepted` that a simulated worker saw (the crowd's fsynced journal) is in the
export under that receipt with those answers, once; and the export holds nothing else.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from crowdstack.ports import Operation
from crowdstack.wiring import Project

ROOT = Path(__file__).resolve().parents[2]
pause = threading.Event().wait  # seconds; nobody ever sets it
MARKS = {"server": "crowdstack.server", "loop": "reconcile", "crowd": "crowdstack.crowd"}


def wait_until(condition: Callable[[], Any], *, within_s: float, what: str, told: Callable[[], str] = str) -> Any:
    """Poll until `condition` holds; AssertionError naming `what`, and what `told` knows then, if it never does."""
    end = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {within_s:.0f} s for: {what}\n{told()}"
        pause(0.02)


class Stage:
    def __init__(self, folder: Path, *, code: Path = ROOT) -> None:
        self.folder = folder
        self.state = folder / ".crowdstack"
        self._environment = {**os.environ, "PYTHONPATH": str(code), "NO_COLOR": "1"}
        self._started: list[subprocess.Popen[bytes]] = []

    # ------------------------------------------------------------------ the command
    def in_zone(self, zone: str) -> None:
        """From now on commands, and what they start, live in this time zone (as TZ has it)."""
        self._environment["TZ"] = zone

    def start(self, *arguments: str, log: str = "command.log") -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "crowdstack", *arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._started.append(child)
        return child

    def run(self, *arguments: str, timeout_s: float = 120, expect: tuple[int, ...] = (0,)) -> str:
        """What the command printed on stdout; its exit code must be one of `expect`."""
        done = subprocess.run(
            [sys.executable, "-m", "crowdstack", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode in expect, (
            f"crowdstack {' '.join(arguments)} -> {done.returncode}\n{done.stdout}{done.stderr}\n{self.logs()}"
        )
        return done.stdout

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("status", "task.yaml", "-o", "json"))
        return answer

    def export(self) -> list[dict[str, Any]]:
        target = self.folder / "export.jsonl"
        self.run("export", "task.yaml", "-f", "jsonl", "--identified", "-o", str(target))
        return [json.loads(line) for line in target.read_text().splitlines()]

    def logs(self, lines: int = 30) -> str:
        out = []
        for log in sorted(self.folder.rglob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            out.append(f"--- {log.relative_to(self.folder)}\n" + "\n".join(tail))
        return "\n".join(out)

    # ------------------------------------------------------------------ processes
    def pids(self, part: str | None = None) -> list[int]:
        """Living processes of this folder: the server, the loop, the crowd, or all three."""
        wanted = [MARKS[part]] if part else list(MARKS.values())
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if not dead and any(str(self.folder) in word for word in words) and any(word in wanted for word in words):
                found.append(int(entry.name))
        return found

    def kill(self, part: str) -> bool:
        """SIGKILL; False if it was not there to be killed."""
        pids = self.pids(part)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
        return bool(pids)

    def clear(self) -> None:
        for child in self._started:
            if child.poll() is None:
                child.kill()
            child.wait()
        for part in ("loop", "crowd", "server"):
            self.kill(part)
        wait_until(lambda: not self.pids(), within_s=10, what="every process of the stage to be gone")

    # ------------------------------------------------------------------ the crowd's memory
    def journal(self) -> dict[str, dict[str, Any]]:
        """What simulated workers saw accepted, by assignment. A torn last line was never fsynced whole: not counted."""
        seen: dict[str, dict[str, Any]] = {}
        for path in self.state.glob("runs/*/crowd/journal.jsonl"):
            for line in path.read_bytes().split(b"\n"):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("event") == "accepted":
                    assert entry["assignment"] not in seen, "the crowd saw two receipts for one assignment"
                    seen[entry["assignment"]] = entry
        return seen

    def units_in_hand(self) -> int:
        """Workers in the middle of a unit, by the server's own database."""
        for inbox in self.state.glob("runs/*/inbox.db"):
            try:
                db = sqlite3.connect(f"file:{inbox}?mode=ro", uri=True, timeout=1)
                try:
                    return int(db.execute("SELECT COUNT(*) FROM assignments WHERE state = 'open'").fetchone()[0])
                finally:
                    db.close()
            except sqlite3.Error:
                return 0
        return 0


@contextmanager
def stage(folder: Path, *, code: Path = ROOT) -> Iterator[Stage]:
    here = Stage(folder, code=code)
    try:
        yield here
    finally:
        here.clear()


# ---------------------------------------------------------------------- projects
def rte_project(folder: Path, *, items: int) -> list[tuple[str, str, str]]:
    """examples/rte with its first `items` items; the recording that belongs to them, as (item, worker, answer)."""
    shutil.copytree(ROOT / "examples" / "rte", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".crowdstack"))
    with (folder / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:items]
        assert len(rows) == items
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    kept = {row["id"] for row in rows}
    with (folder / "answers.csv").open(newline="") as file:
        answers = [row for row in csv.DictReader(file) if row["item"] in kept]
    with (folder / "answers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(answers[0]))
        writer.writeheader()
        writer.writerows(answers)
    return [(row["item"], row["worker"], row["entails"]) for row in answers]


def bots_project(folder: Path, *, items: int, repeats: int, workers: int, extra: str = "") -> None:
    """A small task that `workers` bots do as fast as they can: 10 units a visit, 0.10 USD each."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples" / "demo" / "demo.html", folder / "page.html")
    shutil.copy(ROOT / "examples" / "demo" / "answers.schema.json", folder)
    rows = "".join(f"{number},Review number {number}.\n" for number in range(items))
    (folder / "items.csv").write_text("id,text\n" + rows)
    (folder / "task.yaml").write_text(
        f"""apiVersion: crowdstack/v1
kind: Task
metadata: {{name: bots}}
task:
  title: How did they feel?
  reward: 0.10 USD
  units_per_visit: 10
  timeout: 30s
  app: {{html: page.html, uses: [text]}}
  data: {{file: items.csv, id: id}}
  answers: answers.schema.json
target: {{repeats: {repeats}}}
provider: {{type: mock, crowd: {{type: bots, workers: {workers}, seed: 3}}}}
{extra}
"""
    )


# ---------------------------------------------------------------------- oracles
def assert_journal_is_export(here: Stage) -> int:
    """The four-way promise: each receipt once, under that receipt, with those answers; and nothing else. How many."""
    journal = here.journal()
    rows = here.export()
    by_assignment = Counter(row["assignment"] for row in rows)
    doubled = [assignment for assignment, count in by_assignment.items() if count > 1]
    assert not doubled, f"{len(doubled)} assignments are in the export more than once"
    exported = {row["assignment"]: (row["receipt"], row["answers"]) for row in rows}
    promised = {assignment: (entry["receipt"], entry["answers"]) for assignment, entry in journal.items()}
    lost = promised.keys() - exported.keys()
    assert not lost, f"{len(lost)} submissions that a worker saw accepted are not in the export"
    extra = exported.keys() - promised.keys()
    assert not extra, f"{len(extra)} rows of the export were never accepted"
    with closing(Project.open(spec=None, stack=None, directory=here.folder)) as project:
        for run in project.store.runs(project.task):
            kept, recounted = project.store.unit_counts(run.id), project.store.recount(run.id)
            assert kept == recounted, f"counters of {run.id} say {kept}, a recount {recounted}"
            poison = project.store.quarantined(run.id)
            assert not poison, f"{poison} events of {run.id} are in quarantine"
    changed = [a for a in promised if promised[a] != exported[a]]
    assert not changed, f"{len(changed)} rows differ in receipt or answers: {changed[:3]}"
    return len(rows)


@contextmanager
def promise_kept(here: Stage, *sets: str, serial: bool = True) -> Iterator[None]:
    """What `preview` says before is what happens inside: at the engine, in the journal, and in the provider's own books.

    For a project that is not up yet, with `--set` as the command inside has it. `serial`: the engine deletes one after the
    other; else what does not depend on each other goes in any order.
    """
    with closing(Project.open(spec=here.folder / "task.yaml", sets=sets)) as project:
        promised = project.preview()
        assert not here.state.exists(), "looking made something"
        yield
        steps, lines = project.history()
        studies = [(verb, total) for verb, _, total in project.provider.effects() if verb in ("open", "places")]
        paid = sum((amount.minor for amount in project.provider.debits().values()), 0)
        if (budget := project.status().budget) is not None:
            assert paid <= budget.minor, f"{paid} were paid, more than the budget {budget}"
        assert paid <= promised.cost.cap.minor, f"{paid} were paid, more than the preview's cap {promised.cost.cap}"
        listed = max(total for _, total in studies)
        most = [line.total for line in promised.lines if line.kind == "places"]
        assert [listed] == most, f"{listed} places were listed at the provider, {most} in the preview"
        told, kept = [str(line) for line in promised.lines], [str(line) for line in lines]
        assert kept == told, f"the journal says {kept}, the preview said {told}"
        # A server that died was found so (refresh) and made again: the same step.
        made = [step for step in steps if step.operation not in (Operation.DELETE, Operation.REFRESH)]
        down = [step for step in steps if step.operation is Operation.DELETE]
        assert made == list(promised.steps), f"steps were {made}, the preview said {promised.steps}"
        gone, expected = [step.urn for step in down], [step.urn for step in reversed(promised.steps)]
        assert sorted(gone) == sorted(expected), "something was not taken down"
        assert gone == expected if serial else gone[0] == expected[0] and gone[-2:] == expected[-2:], (
            "teardown out of order"
        )


def assert_promised(here: Stage) -> None:
    """`promise_kept` over a whole `up`; a budget that is too small for the target is waited for until the run rests."""
    with promise_kept(here), closing(Project.open(spec=here.folder / "task.yaml")) as project:
        up = here.start("up", "task.yaml", "--yes")
        wait_until(
            lambda: up.poll() is not None or (project.folder.store.exists() and project.status().state == "budget"),
            within_s=120,
            what="the run to end or to rest",
            told=here.logs,
        )


def assert_nothing_is_left(here: Stage) -> None:
    wait_until(lambda: not here.pids(), within_s=20, what=f"no process after the end, found {here.pids()}")
    assert not list(here.state.glob("runs/*/inbox.*")), "an inbox was left"
    assert not list(here.state.glob("runs/*/server.json")), "a server's configuration was left"


def kill_at_random(here: Stage, command: tuple[str, ...], *, each: int, hands: int, seed: int) -> Counter[str]:
    """Kill server, loop, crowd and `up` `each` times, in seeded order and moments, each time with `hands` units in work.

    Returns how often each was killed. The command is started again whenever it is not running.
    """
    rng = random.Random(seed)
    order = [part for part in ("server", "loop", "crowd", "up") for _ in range(each)]
    rng.shuffle(order)
    up = here.start(*command)
    killed: Counter[str] = Counter()
    for part in order:

        def at_work(part: str = part) -> bool:
            nonlocal up
            if up.poll() is not None:
                assert up.returncode in (0, -signal.SIGKILL), f"`up` ended with {up.returncode}\n{here.logs()}"
                assert up.returncode != 0, "the run ended before every kill was made: make it longer"
                up = here.start(*command)
            there = part == "up" or bool(here.pids(part))
            return there and here.units_in_hand() >= hands

        wait_until(at_work, within_s=90, what=f"{hands} units in work before killing {part}", told=here.logs)
        pause(rng.uniform(0.0, 0.25))
        if part == "up":
            up.kill()
            up.wait()
            killed[part] += 1
        else:
            killed[part] += here.kill(part)
    if up.poll() is not None:
        up = here.start(*command)
    up.wait(timeout=600)
    assert up.returncode == 0, f"`up` ended with {up.returncode}\n{here.logs()}"
    return killed
