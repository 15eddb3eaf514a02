"""The client's promise in real Chromium: an answer is stored once, whatever happens on its way, and the page says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crowdstack.assets import folder
from tests.browser.running import Running, frame, until

pytestmark = pytest.mark.browser

DEMO = folder("examples") / "demo" / "demo.html"
ROWS = [{"text": "The soup was cold."}, {"text": "The soup was hot."}]
LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["positive", "neutral", "negative"]}},
    "required": ["label"],
    "additionalProperties": False,
}
Start = Callable[..., Running]


def demo(running: Start, **settings: Any) -> Running:
    return running(DEMO, ROWS, **{"answers": LABEL, **settings})


def status(page: Any) -> Any:
    """What the worker reads from the client, in the bar or on the curtain."""
    return page.locator("#crowdstack-status [role=status]:visible")


def says(page: Any, text: str) -> None:
    status(page).filter(has_text=text).wait_for()


def answer(page: Any, label: str = "Negative") -> None:
    page.get_by_role("button", name=label).click()


def kill_at_submit(page: Any, server: Running, *, committed: bool) -> None:
    """The next submit kills the server by SIGKILL: before it heard of it, or with the answer on its disk."""
    dead: list[bool] = []

    def die() -> None:
        dead.append(True)
        server.kill()

    def between(ws: Any) -> None:
        upstream = ws.connect_to_server()

        def from_page(text: str | bytes) -> None:
            if frame(text)["type"] == "submit" and not committed and not dead:
                die()
            else:
                upstream.send(text)

        def from_server(text: str | bytes) -> None:
            if frame(text)["type"] == "accepted" and committed and not dead:
                die()
            else:
                ws.send(text)

        ws.on_message(from_page)
        upstream.on_message(from_server)

    page.route_web_socket("**/v1/work", between)


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("then", ["waits", "reloads", "closes the tab and opens the link again"])
def test_an_answer_whose_server_is_killed_during_submit_is_stored_once_and_the_page_says_so(
    running: Start, context: Any, committed: bool, then: str
) -> None:
    server = demo(running, killable=True)
    page = context.new_page()
    kill_at_submit(page, server, committed=committed)
    page.goto(server.link())
    answer(page)
    says(page, "Your answer is kept in this browser")
    assert server.answers() == ([{"label": "negative"}] if committed else [])

    if then == "closes the tab and opens the link again":
        page.close()
        page = context.new_page()
    server.start()
    if then == "reloads":
        page.reload()
    elif then != "waits":
        page.goto(server.link())

    says(page, "is saved")
    page.get_by_text("The soup was hot.").wait_for()
    assert server.answers() == [{"label": "negative"}]


def test_with_storage_full_the_page_says_to_keep_it_open_and_still_delivers(running: Start, page: Any) -> None:
    server = demo(running, killable=True)
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    kill_at_submit(page, server, committed=False)
    page.goto(server.link())
    answer(page)
    says(page, "Keep this tab open")
    server.start()
    says(page, "Your answer is saved.")
    assert server.answers() == [{"label": "negative"}]


def test_without_any_storage_a_visit_works_to_its_end(running: Start, page: Any) -> None:
    server = demo(running)
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        "  Object.defineProperty(window, name, { get() { throw new DOMException('off', 'SecurityError'); } });"
    )
    page.goto(server.link())
    for row in ROWS:
        page.get_by_text(row["text"]).wait_for()
        answer(page)
    says(page, "All done")
    assert server.answers() == [{"label": "negative"}] * 2


def test_where_sockets_are_blocked_an_answer_goes_by_post(running: Start, page: Any) -> None:
    server = demo(running)
    open_sockets: list[Any] = []

    def only_the_first(ws: Any) -> None:
        if open_sockets:
            ws.close(code=1011, reason="blocked")
        else:
            ws.connect_to_server()
        open_sockets.append(ws)

    page.route_web_socket("**/v1/work", only_the_first)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    open_sockets[0].close(code=1011, reason="blocked")
    answer(page)
    until(lambda: page.evaluate("1") and server.answers() == [{"label": "negative"}])
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('unsent'))") == []


def test_an_answer_given_offline_is_sent_when_the_network_is_back(running: Start, context: Any) -> None:
    server = demo(running, killable=True)
    page = context.new_page()
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    server.kill()
    context.set_offline(True)
    answer(page)
    says(page, "You are offline")
    server.start()
    context.set_offline(False)
    says(page, "Your answer is saved.")
    assert server.answers() == [{"label": "negative"}]


def test_a_busy_server_is_asked_again_until_it_takes_the_answer(running: Start, page: Any) -> None:
    server = demo(running)
    nonces: list[str] = []

    def busy_twice(ws: Any) -> None:
        upstream = ws.connect_to_server()

        def from_page(text: str | bytes) -> None:
            sent = frame(text)
            if sent["type"] != "submit":
                upstream.send(text)
                return
            nonces.append(sent["nonce"])
            if len(nonces) < 3:
                ws.send('{"type": "busy", "of": "submit", "retry_s": 0.2}')
            else:
                upstream.send(text)

        ws.on_message(from_page)

    page.route_web_socket("**/v1/work", busy_twice)
    page.goto(server.link())
    answer(page)
    says(page, "The server is busy")
    says(page, "Your answer is saved.")
    assert len(nonces) == 3
    assert len(set(nonces)) == 1
    assert server.answers() == [{"label": "negative"}]


def test_in_two_tabs_the_first_answer_counts_and_the_second_tab_says_so(running: Start, context: Any) -> None:
    server = demo(running)
    one, other = context.new_page(), context.new_page()
    for tab in (one, other):
        tab.goto(server.link())
        tab.get_by_text("The soup was cold.").wait_for()
    answer(one, "Positive")
    one.get_by_text("The soup was hot.").wait_for()
    answer(other, "Negative")
    says(other, "answered before")
    other.get_by_text("The soup was hot.").wait_for()
    assert server.answers() == [{"label": "positive"}]


def test_two_workers_in_one_browser_keep_their_answers_apart(running: Start, context: Any) -> None:
    server = demo(running, killable=True)
    page = context.new_page()
    kill_at_submit(page, server, committed=False)
    page.goto(server.link("w1"))
    answer(page)
    says(page, "Your answer is kept in this browser")
    page.close()
    server.start()
    other = context.new_page()
    other.goto(server.link("w2"))
    answer(other, "Positive")
    says(other, "Your answer is saved.")
    back = context.new_page()
    back.goto(server.link("w1"))
    says(back, "is saved")
    assert {(each.worker, each.answers["label"]) for each in server.submissions()} == {
        ("w1", "negative"),
        ("w2", "positive"),
    }


def test_an_answer_after_the_deadline_is_kept_and_called_late(running: Start, page: Any) -> None:
    server = demo(running, timeout_s=1)
    page.goto(server.link())
    says(page, "The time for this one is up.")
    until(lambda: page.evaluate("1") and any(kind.value == "expired" for kind, _ in server.events()))
    answer(page)
    says(page, "The time was up, but your answer is saved.")
    assert [(each.answers["label"], each.late) for each in server.submissions()] == [("negative", True)]


def test_a_double_click_is_one_answer(running: Start, page: Any) -> None:
    server = demo(running)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.get_by_role("button", name="Negative").dblclick(delay=60)
    page.get_by_text("The soup was hot.").wait_for()
    says(page, "Your answer is saved.")
    assert server.answers() == [{"label": "negative"}]
