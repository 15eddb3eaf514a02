"""`workers message`: asked before it is sent, told what became of it. Who may be written to is the order's (reconcile.orders)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crowdstack.plan.actions import Order, SendMessage
from crowdstack.reconcile.orders import message
from crowdstack.store.store import PeeweeStore
from tests.cli.conftest import Call
from tests.cli.test_render import HOSTILE
from tests.cli.world import World
from tests.contracts.store import TASK, started


@dataclass
class Post(World):
    """Anna came to its task. What is sent is in `sent`; `why`: why it is not."""

    sent: list[Order] = field(default_factory=list)
    why: str | None = None

    def message(self, named: str, text: str, *, name: str | None = None) -> SendMessage:
        return message(TASK, named, text, name=name, store=self.store)

    def carry_out(self, order: Order) -> str | None:
        self.sent.append(order)
        return self.why


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    store = PeeweeStore(tmp_path / "store.db")
    _, inbox, units = started(store, "a")
    inbox.work(units[0], "anna", {"label": "owl"})
    inbox.deliver()
    yield Post(store=store, state="live", task=TASK)
    store.close()


def test_a_message_is_shown_asked_about_and_sent(call: Call, post: Post) -> None:
    write = ("workers", "message", "anna", "--text", "Thank you.", "--id", "thanks")
    assert call(*write, world=post).code == 2  # there is nobody to ask
    assert call(*write, world=post, types="n\n").code == 8
    assert post.sent == []
    said = call(*write, "--yes", world=post)
    assert (said.code, said.out) == (0, "message thanks: sent\n")
    assert "write to anna" in said.err
    (order,) = post.sent
    assert isinstance(order, SendMessage)
    assert (order.worker, order.text, order.message) == ("anna", "Thank you.", "thanks")


def test_a_message_that_is_not_sent_says_why(call: Call, post: Post) -> None:
    post.why = f"{HOSTILE} has no messages"
    said = call("workers", "message", "anna", "--text", HOSTILE.replace("\ud800", ""), "--yes", world=post)
    assert said.code == 4
    assert "has no messages" in said.err
    assert not set(said.out + said.err) & set("\x1b\x07\r\x9b\u202e\u2066\ud800")


def test_nothing_is_written_to_nobody(call: Call, post: Post) -> None:
    assert call("workers", "message", "zoe", "--text", "Thank you.", "--yes", world=post).code == 6
    assert call("workers", "message", "anna", "--text", "  ", "--yes", world=post).code == 2
    assert post.sent == []
