"""What a worker meets in the page: modes, links, forms, messages, and data that is never script."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crowdstack.assets import folder
from crowdstack.model import EventKind
from tests.browser.running import CLIENT, STYLE, Running, frame, until
from tests.browser.test_answers_survive import DEMO, LABEL, ROWS, answer, demo, says

pytestmark = pytest.mark.browser

PAGE = folder("task_apps") / "html" / "page.html"
RTE = folder("examples") / "rte" / "rte.html"
Start = Callable[..., Running]

FORM = """<!doctype html><html><head><script src="/client.js"></script></head><body><p id="text"></p>
<form>
  <input name="name"> <input name="age" type="number" step="any"> <label><input name="sure" type="checkbox"> sure</label>
  <input name="colours" type="checkbox" value="red"> <input name="colours" type="checkbox" value="blue">
  <select name="size"><option value="s">s</option><option value="l">l</option></select> <textarea name="why"></textarea>
  <button id="go">Send</button>
</form>
<button id="skip">Skip</button>
<script>
  let task;
  crowdstack.run((given) => {
    task = given;
    document.querySelector("#text").textContent = task.data.text;
    document.querySelector("#skip").onclick = () => task.return_();
    task.form(document.querySelector("form"));
  });
</script></body></html>"""


# ---------------------------------------------------------------------------------------------------- links


def test_the_link_leaves_the_address_and_a_reload_goes_on_with_the_same_unit(running: Start, page: Any) -> None:
    server = demo(running)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    assert page.url == f"{server.config.origin}/"
    page.reload()
    page.get_by_text("The soup was cold.").wait_for()
    kinds = [kind for kind, _ in server.events()]
    assert kinds == [EventKind.ARRIVED, EventKind.ASSIGNED]


def test_a_forged_link_is_refused_and_writes_nothing(running: Start, page: Any) -> None:
    server = demo(running)
    answered = page.goto(server.link()[:-2] + "AA")
    assert answered.status == 403
    page.get_by_text("This link is not valid").wait_for()
    assert server.events() == []


def test_without_a_link_the_page_asks_for_it(running: Start, page: Any) -> None:
    server = demo(running)
    page.goto(server.config.origin)
    says(page, "Open the link that you were given")
    assert server.events() == []


def test_after_the_last_unit_the_completion_text_stands_and_a_reload_costs_no_place(running: Start, page: Any) -> None:
    server = demo(running, units_per_visit=1)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    answer(page)
    says(page, "Your code is C7QX2P.")
    says(page, "Your answer is saved.")
    page.reload()
    says(page, "Your code is C7QX2P.")
    assert [kind for kind, _ in server.events()].count(EventKind.ARRIVED) == 1


def test_a_page_that_is_too_old_reloads_itself_once(running: Start, page: Any) -> None:
    server = demo(running, killable=True)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    server.set_page(DEMO.read_text().replace("How does this review sound?", "How does it sound now?"))
    server.signal(signal.SIGHUP)
    until(lambda: page.evaluate("1") and "read again" in server.folder.server_log.read_text())
    answer(page)
    page.get_by_role("heading", name="How does it sound now?").wait_for()
    page.get_by_text("The soup was hot.").wait_for()
    assert server.answers() == [{"label": "negative"}]


def test_a_page_that_a_reload_does_not_help_stops_and_says_so(running: Start, page: Any) -> None:
    server = demo(running)
    hellos = []

    def always_too_old(ws: Any) -> None:
        def from_page(text: str | bytes) -> None:
            hellos.append(frame(text)["type"])
            ws.send('{"type": "reload"}')

        ws.on_message(from_page)

    page.route_web_socket("**/v1/work", always_too_old)
    page.goto(server.link())
    says(page, "Close the tab and open your link again.")
    assert hellos == ["hello", "hello"]


# ---------------------------------------------------------------------------------------------------- forms


def test_refused_answers_are_shown_beside_their_field_and_may_be_put_right(running: Start, page: Any) -> None:
    server = running(PAGE, ROWS, answers=LABEL)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.get_by_role("button", name="Submit").click()
    says(page, "Not saved yet")
    page.locator(".crowdstack-error").wait_for()
    assert page.locator("fieldset + .crowdstack-error").count() == 1
    assert page.locator("[name=label]").first.get_attribute("aria-invalid") == "true"
    assert server.answers() == []

    page.get_by_label("Neutral").check()
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("The soup was hot.").wait_for()
    assert page.locator(".crowdstack-error, [aria-invalid], :checked").count() == 0
    assert server.answers() == [{"label": "neutral"}]


def test_fields_become_answers_by_their_kind_and_empty_ones_are_left_out(running: Start, page: Any) -> None:
    server = running(FORM, ROWS)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.locator("[name=age]").fill("41.5")
    page.locator("[name=sure]").check()
    page.locator("[value=blue]").check()
    page.locator("[name=why]").fill("because\n<b>")
    page.locator("#go").click()
    page.get_by_text("The soup was hot.").wait_for()
    assert server.answers() == [{"age": 41.5, "sure": True, "colours": ["blue"], "size": "s", "why": "because\n<b>"}]


def test_a_draft_survives_a_reload_and_is_gone_with_its_unit(running: Start, page: Any) -> None:
    server = running(FORM, ROWS)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.locator("[name=why]").fill("half a th")
    page.locator("[value=red]").check()
    page.reload()
    page.get_by_text("The soup was cold.").wait_for()
    assert page.locator("[name=why]").input_value() == "half a th"
    assert page.locator("[value=red]").is_checked()
    page.locator("#go").click()
    page.get_by_text("The soup was hot.").wait_for()
    assert page.locator("[name=why]").input_value() == ""
    assert page.evaluate("Object.keys(localStorage)") == []


def test_signals_tell_times_and_pastes_but_no_content(running: Start, page: Any) -> None:
    server = running(FORM, ROWS)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.locator("[name=why]").evaluate("(field) => field.dispatchEvent(new ClipboardEvent('paste', {bubbles: true}))")
    page.locator("[name=why]").fill("secret words")
    page.locator("#go").click()
    page.get_by_text("The soup was hot.").wait_for()
    signals = server.submissions()[0].signals
    assert signals["pastes"] == {"why": 1}
    assert 0 <= signals["first_input_ms"] <= signals["submit_ms"]
    assert "secret" not in str(signals)


def test_a_unit_that_is_given_back_goes_and_the_next_one_comes(running: Start, page: Any) -> None:
    server = running(FORM, ROWS)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.locator("#skip").click()
    until(lambda: page.evaluate("1") and EventKind.RETURNED in [kind for kind, _ in server.events()])
    page.locator("#text:not(:empty)").wait_for()
    assert server.answers() == []


def test_the_rte_page_is_answered_by_key_and_shows_the_corpus_entities_as_characters(running: Start, page: Any) -> None:
    rows = [{"text": "Iran&apos;s &quot;north&quot; &lt;b&gt;", "hypothesis": "A &amp; B"}]
    server = running(RTE, rows)
    page.goto(server.link())
    page.get_by_text('Iran\'s "north" &lt;b&gt;', exact=True).wait_for()
    page.get_by_text("A & B", exact=True).wait_for()
    page.keyboard.press("n")
    says(page, "All done")
    assert server.answers() == [{"entails": "no"}]


# ---------------------------------------------------------------------------------------------------- modes


def test_preview_shows_the_sample_and_keeps_nothing(running: Start, page: Any) -> None:
    server = demo(running, sample={"text": "A sample."})
    page.goto(f"{server.config.origin}/?preview")
    page.get_by_text("A sample.").wait_for()
    answer(page)
    says(page, "Nothing was kept.")
    answer(page)
    says(page, "Nothing was kept.")
    assert server.events() == []
    assert page.evaluate("Object.keys(localStorage)") == []


def test_preview_without_a_sample_says_so(running: Start, page: Any) -> None:
    server = demo(running)
    page.goto(f"{server.config.origin}/?preview")
    says(page, "declares no sample")


HOST = """<!doctype html><iframe sandbox="allow-scripts" src="/app?review" width="800" height="500"></iframe>
<script>
  addEventListener("message", ({ data, source }) => {
    if (data.type !== "crowdstack.ready") return;
    source.postMessage({ type: "crowdstack.review", data: { text: "Reviewed." }, answers: { label: "neutral" } }, "*");
  });
</script>"""


@pytest.mark.parametrize(
    ("app", "chosen"), [(DEMO, "[aria-pressed=true]"), (PAGE, ":checked")], ids=["buttons", "fields"]
)
def test_review_shows_an_item_with_its_answers_in_an_opaque_frame_read_only(page: Any, app: Path, chosen: str) -> None:
    files = {"/": HOST, "/app": app.read_text(), "/client.js": CLIENT.read_text(), "/crowdstack.css": STYLE.read_text()}
    kinds = {".js": "text/javascript", ".css": "text/css"}

    def serve(route: Any) -> None:
        path = "/" + route.request.url.split("/", 3)[3].split("?")[0]
        kind = kinds.get(Path(path).suffix, "text/html")
        route.fulfill(body=files[path], content_type=f"{kind}; charset=utf-8")

    page.route("http://review.test/**", serve)
    page.goto("http://review.test/")
    frame_ = page.frame_locator("iframe")
    frame_.get_by_text("Reviewed.").wait_for()
    assert frame_.locator(chosen).get_attribute("value") == "neutral"
    assert frame_.locator("form [name]:enabled").count() == 0
    assert frame_.locator("form [name]:disabled").count() == 3


# ---------------------------------------------------------------------------------------------------- threats W11


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><iframe srcdoc='<script>parent.alert(1)</script>'>",
    "</textarea><script src=//evil.test/x.js></script>",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "\u202e\u0007]]>--></style><style>*{display:none}</style>",
]


@pytest.mark.parametrize("app", [DEMO, PAGE, RTE], ids=["demo", "page", "rte"])
def test_script_in_data_is_text(running: Start, context: Any, app: Path) -> None:
    server = running(app, [{"text": text, "hypothesis": text} for text in HOSTILE])
    page = context.new_page()
    dialogs: list[str] = []
    requests: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.link())
    for text in HOSTILE:
        page.wait_for_function("(text) => document.querySelector('#text').textContent === text", arg=text)
        if app is PAGE:
            page.get_by_label("Neutral").check()
        page.locator("form button").first.click()
    says(page, "All done")
    assert dialogs == []
    assert [url for url in requests if not url.startswith(server.config.origin)] == []
    assert page.locator("main script, main img, main svg, main iframe, main style").count() == 0
    assert len(server.answers()) == len(HOSTILE)


def test_hostile_completion_text_and_errors_are_text(running: Start, page: Any) -> None:
    server = running(
        PAGE,
        ROWS[:1],
        answers={"type": "object", "properties": {"label": {"const": HOSTILE[1]}}},
        completion=HOSTILE[0],
    )
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    page.get_by_label("Neutral").check()
    page.get_by_role("button", name="Submit").click()
    page.locator(".crowdstack-error").filter(has_text="onerror").wait_for()
    assert page.locator("form img").count() == 0
    page.evaluate("document.querySelector(':checked').value = '<img src=x onerror=alert(1)>'")
    page.get_by_role("button", name="Submit").click()
    says(page, HOSTILE[0])
    assert page.locator("#crowdstack-status script").count() == 0


def test_the_status_is_announced_and_the_page_behind_the_curtain_cannot_be_reached(running: Start, page: Any) -> None:
    server = demo(running, units_per_visit=1)
    page.goto(server.link())
    page.get_by_text("The soup was cold.").wait_for()
    assert page.evaluate("document.body.inert") is False
    answer(page)
    says(page, "All done")
    assert page.evaluate("document.body.inert") is True
    page.get_by_role("status").filter(has_text="All done").wait_for()
