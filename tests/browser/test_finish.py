"""The end of a visit that a provider waits for: the code, the way there, and no way elsewhere (threats W10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from crowdstack.model import EventKind
from crowdstack.wire.configs import Claims, Ending, Finish
from tests.browser.running import Running
from tests.browser.test_answers_survive import answer, demo, says, status

pytestmark = pytest.mark.browser

HOST = "panel.test"
FINISH = Finish(
    answered=Ending(code="C1A2B3", url=f"https://{HOST}/complete?cc=C1A2B3&who={{worker}}"),
    empty=Ending(code="NONE", url=f"https://{HOST}/complete?cc=NONE"),
    hosts=(HOST,),
)
CLAIMS = Claims(worker="PROLIFIC_PID", submission="SESSION_ID")
Start = Callable[..., Running]


def came(server: Running, worker: str = "p1", submission: str = "s1", **more: str) -> str:
    token = urlsplit(server.link("*")).query.partition("=")[2]
    query = {"t": token, "PROLIFIC_PID": worker, "SESSION_ID": submission, **more}
    return f"{server.config.origin}/?{urlencode(query)}"


@pytest.fixture
def visited(context: Any) -> list[str]:
    """Where the browser went at the panel's host; it answers whatever it is asked."""
    found: list[str] = []

    def panel(route: Any) -> None:
        found.append(route.request.url)
        route.fulfill(body="<!doctype html><title>Panel</title>Thank you from the panel")

    context.route(f"https://{HOST}/**", panel)
    return found


def finishing(running: Start, **settings: Any) -> Running:
    return demo(running, **{"units_per_visit": 1, "claims": CLAIMS, "finish": FINISH, **settings})


def finish(page: Any) -> Any:
    return page.get_by_role("link", name="Finish")


def test_after_the_last_answer_the_code_stands_there_and_the_page_goes_where_the_visit_is_finished(
    running: Start, page: Any, visited: list[str]
) -> None:
    server = finishing(running)
    page.goto(came(server))
    page.get_by_text("The soup was cold.").wait_for()
    assert urlsplit(page.url).query == "", "neither token nor ids stay in the address"
    answer(page)
    says(page, "All done, thank you!")
    says(page, "Your answer is saved.")
    page.get_by_text("C1A2B3", exact=True).wait_for()
    assert finish(page).get_attribute("href") == f"https://{HOST}/complete?cc=C1A2B3&who=p1"
    assert visited == []
    page.wait_for_url(f"https://{HOST}/**")
    assert visited == [f"https://{HOST}/complete?cc=C1A2B3&who=p1"]
    assert server.answers() == [{"label": "negative"}]


def test_the_button_goes_at_once(running: Start, page: Any, visited: list[str]) -> None:
    server = finishing(running)
    page.goto(came(server))
    answer(page)
    page.evaluate("setTimeout = () => 0")  # whatever comes now does not come by itself
    finish(page).click()
    page.get_by_text("Thank you from the panel").wait_for()
    assert len(visited) == 1


def test_who_comes_back_sees_the_code_again_and_is_not_sent_away(running: Start, page: Any, visited: list[str]) -> None:
    server = finishing(running)
    page.goto(came(server))
    answer(page)
    page.wait_for_url(f"https://{HOST}/**")
    page.goto(server.config.origin)
    page.get_by_text("C1A2B3", exact=True).wait_for()
    says(page, "press Finish to go there")
    page.wait_for_timeout(3500)
    assert len(visited) == 1
    page.goto(came(server))
    page.get_by_text("C1A2B3", exact=True).wait_for()
    assert [kind for kind, _ in server.events()].count(EventKind.ARRIVED) == 1


def test_a_visit_without_answers_ends_elsewhere_than_one_with(running: Start, page: Any, visited: list[str]) -> None:
    server = finishing(running, max_units=0)
    page.goto(came(server))
    page.get_by_text("NONE", exact=True).wait_for()
    page.wait_for_url(f"https://{HOST}/**")
    assert visited == [f"https://{HOST}/complete?cc=NONE"]


def test_a_code_without_an_address_is_copied(running: Start, context: Any, page: Any, visited: list[str]) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    server = finishing(running, finish=Finish(answered=Ending(code="C1A2B3")))
    page.goto(came(server))
    answer(page)
    says(page, "copy this code")
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "C1A2B3"
    assert finish(page).count() == 0
    page.wait_for_timeout(3500)
    assert visited == []


def test_where_there_is_no_clipboard_the_code_is_copied_all_the_same(running: Start, context: Any, page: Any) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    server = finishing(running, finish=Finish(answered=Ending(code="C1A2B3")))
    page.goto(came(server))
    answer(page)
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    page.evaluate("delete navigator.clipboard")
    assert page.evaluate("navigator.clipboard.readText()") == "C1A2B3"


def test_without_a_finish_the_page_ends_as_it_always_did(running: Start, page: Any) -> None:
    server = finishing(running, finish=None)
    page.goto(came(server))
    answer(page)
    says(page, "Your code is C7QX2P.")
    says(page, "You can close this tab.")
    assert finish(page).count() == page.get_by_role("button", name="Copy").count() == 0


@pytest.mark.parametrize(
    "url", ["http://panel.test/", "javascript:alert(1)", "//panel.test/", "/elsewhere", "data:text/html,x"]
)
def test_a_page_goes_nowhere_but_by_https_whatever_it_is_told(
    running: Start, page: Any, visited: list[str], url: str
) -> None:
    server = finishing(running)

    def between(ws: Any) -> None:
        upstream = ws.connect_to_server()
        told = FINISH.answered.to("p1", "s1")["url"]
        upstream.on_message(lambda text: ws.send(text.replace(told, url)))

    page.route_web_socket("**/v1/work", between)
    page.goto(came(server))
    answer(page)
    page.get_by_text("C1A2B3", exact=True).wait_for()
    assert finish(page).count() == 0
    page.wait_for_timeout(3500)
    assert page.url == f"{server.config.origin}/"
    assert visited == []


def test_nothing_in_the_address_says_where_the_page_goes(running: Start, page: Any, visited: list[str]) -> None:
    server = finishing(running)
    evil = dict.fromkeys(("url", "completion", "turkSubmitTo", "redirect"), "https://evil.test/")
    page.route("https://evil.test/**", lambda route: route.fulfill(body="evil"))
    page.goto(came(server, **evil))
    answer(page)
    page.wait_for_url(f"https://{HOST}/**")
    assert len(visited) == 1


def test_a_link_that_a_panel_shows_without_ids_leads_to_the_preview(running: Start, page: Any) -> None:
    server = finishing(running, sample={"text": "A sample."})
    answered = page.goto(came(server, "{{%PROLIFIC_PID%}}", "{{%SESSION_ID%}}"))
    assert answered.status == 403
    page.get_by_role("link", name="preview").click()
    page.get_by_text("A sample.").wait_for()
    assert server.events() == []


def test_hostile_codes_are_text(running: Start, page: Any) -> None:
    code = "<img src=x onerror=alert(1)>"
    server = finishing(running, finish=Finish(answered=Ending(code=code)))
    page.goto(came(server))
    answer(page)
    page.get_by_text(code, exact=True).wait_for()
    assert page.locator("#crowdstack-status img").count() == 0
    assert status(page).count() == 1
