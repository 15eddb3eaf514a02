"""The stories can fail: for each promise the code is broken on purpose, and the story that holds the promise turns red.

Each mutant dies at the worst moment for it; the sound code, dying at the same moment, passes. So what is red is the
broken order, not the death.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.mutate import Mutation, mutated
from tests.stories.stage import assert_journal_is_export, assert_nothing_is_left, assert_promised, bots_project, stage
from tests.test_base_install import undeclared

pytestmark = [pytest.mark.story, pytest.mark.timeout(300)]

_COMMIT = "        job = asyncio.get_running_loop().run_in_executor(self._thread, self._write.commit)\n"
_ANSWERS = 'any(kind.value == "submitted" for change, _ in group for kind, _ in change.events)'
_DYING_COMMIT = _COMMIT.replace("self._write.commit", f'_fault.slowly, self._write.commit, "server", 8, {_ANSWERS}')
_IMPORT = Mutation(
    file="crowdstack/server/inbox.py",
    old="from crowdstack.errors import Busy, Refused\n",
    new="from crowdstack import _fault\nfrom crowdstack.errors import Busy, Refused\n",
)
_MOVE = "            _move_cursor(db, run, batch.cursor)\n        return news\n"
_DIE = """        if any(getattr(event, "kind", None) == "submitted" for event in fresh):
            __import__("crowdstack._fault")._fault.die("store", 2)
"""


def run_with(code: Path, folder: Path) -> None:
    """A run of 200 units by bots, to its end; raises AssertionError when the promise is broken."""
    bots_project(folder, items=100, repeats=2, workers=20)
    with stage(folder, code=code) as here:
        here.run("up", "task.yaml", "--yes", "--timeout", "60s")
        assert list(here.state.glob("runs/*/died-*")), "nobody died: the test shows nothing"
        assert_journal_is_export(here)
        assert_nothing_is_left(here)


def test_a_server_that_dies_before_the_commit_has_promised_nothing(tmp_path: Path) -> None:
    sound = Mutation(file="crowdstack/server/inbox.py", old=_COMMIT, new=_DYING_COMMIT)
    run_with(mutated(tmp_path / "code", _IMPORT, sound), tmp_path / "run")


def test_accepted_sent_before_the_commit_is_noticed(tmp_path: Path) -> None:
    broken = Mutation(
        file="crowdstack/server/inbox.py", old=_COMMIT, new="        self._tell(group, outcome)\n" + _DYING_COMMIT
    )
    with pytest.raises(AssertionError, match=r"that a worker saw accepted|saw two receipts"):
        run_with(mutated(tmp_path / "code", _IMPORT, broken), tmp_path / "run")


def test_a_store_that_dies_after_its_transaction_goes_on_at_its_cursor(tmp_path: Path) -> None:
    sound = Mutation(
        file="crowdstack/store/events.py",
        old=_MOVE,
        new=_MOVE.replace("        return", _DIE + "        return"),
    )
    run_with(mutated(tmp_path / "code", sound), tmp_path / "run")


def test_a_cursor_in_a_transaction_of_its_own_is_noticed(tmp_path: Path) -> None:
    apart = _DIE + "        with self._database.writing() as db:\n" + _MOVE
    broken = Mutation(file="crowdstack/store/events.py", old=_MOVE, new=apart)
    with pytest.raises(AssertionError, match=r"quarantine|recount"):
        run_with(mutated(tmp_path / "code", broken), tmp_path / "run")


def test_one_place_more_than_was_previewed_is_noticed(tmp_path: Path) -> None:
    broken = Mutation(
        file="crowdstack/reconcile/act.py",
        old="provider.open_study(study, places=places,",
        new="provider.open_study(study, places=places + 1,",
    )
    bots_project(tmp_path / "run", items=10, repeats=2, workers=5)
    with stage(tmp_path / "run", code=mutated(tmp_path / "code", broken)) as here:
        with pytest.raises(AssertionError, match="places"):
            assert_promised(here)


def test_a_budget_that_is_not_asked_is_noticed(tmp_path: Path) -> None:
    bots_project(tmp_path / "run", items=100, repeats=2, workers=5, extra="budget: {max: 0.50 USD, when_short: pause}")
    broken = (
        Mutation(
            file="crowdstack/plan/decide.py",
            old="    if desired.budget is None or not observed.worst.minor:\n",
            new="    if True:\n",
        ),
        Mutation(file="crowdstack/reconcile/act.py", old="budget=budget, now=now)", new="budget=None, now=now)"),
    )
    with stage(tmp_path / "run", code=mutated(tmp_path / "code", *broken)) as here:
        with pytest.raises(AssertionError, match="more than the budget"):
            assert_promised(here)


def test_an_import_that_the_base_install_does_not_bring_is_noticed(tmp_path: Path) -> None:
    broken = Mutation(file="crowdstack/deploy.py", old="import json\n", new="import json\nimport boto3\n")
    assert undeclared(mutated(tmp_path, broken)) == {"boto3"}
