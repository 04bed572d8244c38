"""What else the page shows in a real browser: empty states, notices, whose answers go where, the history."""

from __future__ import annotations

import re
from typing import Any

from fake_server import Running
from page_driver import has_pair, holds, kept, open_pair, press, shown, sign_in, until

EMPTY: dict[str, tuple[dict[str, Any], str]] = {
    "collecting": (
        {"trainer": "collecting", "env_steps": 300, "next_questions_at": 1000},
        r"at step 1,000 \(now at 300\)",
    ),
    "drawing": ({"drawn": 0, "pairs_left": 7}, "7 questions wait"),
    "answered": ({}, r"at step 15,000 \(now at 12,400\)"),
    "spent": ({"labels": 5, "spent": 100}, "5 labels are in"),
    "ended": ({"trainer": "interrupted"}, "nothing else is asked"),
    "renderer": ({"pairs_left": 2, "drawn": 0, "renderer": {"state": "failed", "message": "no OpenGL"}}, "no OpenGL"),
}


def test_every_empty_state(page: Any, server: Running) -> None:
    normal = dict(server.fake.status)
    server.fake.pairs_left = 0
    sign_in(page, server)
    for state, (changes, text) in EMPTY.items():
        server.fake.pairs_left, server.fake.drawn = changes.get("pairs_left", 0), changes.get("drawn")
        server.fake.status = normal | {k: v for k, v in changes.items() if k in normal}
        page.reload()
        page.locator(f"#empty[data-state={state}]").wait_for()
        until(lambda text=text: re.search(text, page.inner_text("#empty-text")) is not None)
    server.fake.pairs_left, server.fake.drawn, server.fake.status = 5, None, normal
    has_pair(page)  # appears by itself
    assert not page.locator("#empty").is_visible()


def test_without_a_session_the_page_says_what_to_open(page: Any, server: Running) -> None:
    page.goto(server.origin)
    page.locator("#empty[data-state=nosession]").wait_for()
    assert "#token=" in page.inner_text("#empty-text")
    page.goto(server.url)  # only the part after # differs, so nothing is loaded anew
    page.locator("#start").wait_for()


def test_a_browser_without_the_codec_is_told(page: Any, server: Running) -> None:
    page.add_init_script("HTMLMediaElement.prototype.canPlayType = () => ''")
    page.goto(server.url)
    page.locator("#empty[data-state=codec]").wait_for()
    assert "H.264" in page.inner_text("#empty-text")


def test_waiting_training_counts_down_and_can_be_sent_on(page: Any, server: Running) -> None:
    server.fake.status |= {"trainer": "waiting", "can_continue": True, "waiting_s": 10.0, "timeout_s": 100.0}
    server.fake.pairs_left = 4
    open_pair(page, server)
    text = page.inner_text("#notice-text")
    assert "waiting for you: 4 questions left" in text
    assert "1:2" in text or "1:30" in text
    assert "waiting for you" in page.title()
    late = {"status": 409, "headers": {"x-pbrl": "1"}, "json": {"error": "training is not waiting"}}
    page.route("**/api/continue", lambda route: route.fulfill(**late))
    page.locator("#continue").click()
    until(lambda: page.inner_text("#said") == "training is not waiting")
    assert page.get_attribute("#notice", "data-id") == "waiting"  # not taken for another run
    page.unroute("**/api/continue")
    page.locator("#continue").click()
    until(lambda: server.fake.continued == 1)
    page.locator("#continue").wait_for(state="hidden")


def test_an_answer_is_changed_in_the_history(page: Any, server: Running) -> None:
    open_pair(page, server)
    press(page, "a")
    assert press(page, "d") == 3
    page.keyboard.press("h")
    rows = page.locator("#history-list .row")
    rows.nth(1).wait_for()
    assert [rows.nth(i).locator("strong").inner_text() for i in range(2)] == ["right is better", "left is better"]
    page.keyboard.press("a")  # means nothing while the drawer is open
    rows.nth(1).click()
    until(lambda: shown(page) == 1)
    assert "You said: left is better" in page.inner_text("#notice-text")
    page.wait_for_timeout(160)
    assert press(page, "s") == 3
    until(lambda: len(server.fake.answers) == 3)
    assert [(a["query"], a["choice"]) for a in server.fake.answers.values()] == [
        (1, "left"),
        (2, "right"),
        (1, "equal"),
    ]


def test_slightly_better_and_another_camera(page: Any, server: Running) -> None:
    open_pair(page, server)
    source = "document.querySelector('.deck.active .left video').src"
    before = page.evaluate(source)
    page.keyboard.press("c")
    until(lambda: page.evaluate(source) != before)
    assert shown(page) == 1
    press(page, "Shift+ArrowRight")
    until(lambda: len(server.fake.answers) == 1)
    [answer] = server.fake.answers.values()
    assert (answer["choice"], answer["strength"]) == ("right", "slight")


def test_each_tab_has_a_name_of_its_own(context: Any, page: Any, server: Running) -> None:
    page.goto(server.url)
    page.locator("#start").wait_for()
    assert page.input_value("#name") == ""
    for nobody in ("", "   ", "a:b"):
        page.locator("#name").fill(nobody)
        page.keyboard.press("Enter")
        assert page.locator("#start").is_visible()
    page.locator("#name").fill("")
    page.keyboard.type("ada swx")  # letters that are answers elsewhere
    page.keyboard.press("Enter")
    has_pair(page)
    other = context.new_page()
    other.goto(server.url)
    other.locator("#start").wait_for()
    assert other.input_value("#name") == ""  # only offered
    assert other.locator("#names option").get_attribute("value") == "ada swx"
    other.locator("#name").fill("ben")
    other.keyboard.press("Enter")
    has_pair(other)
    other.close()
    page.reload()
    has_pair(page)
    page.wait_for_timeout(160)
    press(page, "a")
    until(lambda: [a["annotator"] for a in server.fake.answers.values()] == ["ada swx"])
    said = page.locator("#said")
    press(page, "z")
    until(lambda: said.inner_text() == "Taken back: left is better")
    press(page, "d")
    until(lambda: len(server.fake.answers) == 2)
    server.fake.answers.clear()
    press(page, "z")
    until(lambda: said.inner_text() == "Nothing was taken back, the answer was not found: right is better")
    assert len(server.fake.undone) == 1


def test_answers_never_reach_another_run(page: Any, server: Running) -> None:
    open_pair(page, server)
    first, second = server.fake.status["run"], "f" * 32
    page.route("**/api/status*", lambda route: route.abort())  # so that an answer is the first to meet the other run
    server.fake.status |= {"run": second, "name": "runs/other"}
    page.keyboard.press("a")
    page.locator("#notice[data-id=otherrun]").wait_for()
    page.unroute("**/api/status*")
    page.locator("#notice[data-id=moved]").wait_for()  # by itself, after a reload
    assert "no longer runs/point_reach/seed_0. 1 answer is kept" in page.inner_text("#notice-text")
    assert page.locator("#start").is_visible()
    assert page.input_value("#name") == ""
    page.locator("#dismiss").click()
    page.locator("#dismiss").wait_for(state="hidden")
    assert server.fake.deliveries == []
    assert [key.split(".")[2] for key in kept(page, "outbox")] == [first]
    server.fake.status["run"] = first
    until(lambda: len(server.fake.answers) == 1)
    [answer] = server.fake.answers.values()
    assert (answer["query"], answer["run"], answer["annotator"]) == (1, first, "ann")
    until(lambda: kept(page, "outbox") == [])


def test_what_waits_is_renewed_and_what_others_answered_is_dropped(page: Any, server: Running) -> None:
    page.clock.install()
    open_pair(page, server)
    fake = server.fake
    until(lambda: any(n == 0 for n, _ in fake.asked))  # by itself at the start: after a reload the pairs may be old
    holds(page, server, [1, 2, 3, 4])
    fake.gone = {1, 2}
    before = len(fake.asked)
    page.clock.fast_forward(31_000)
    until(lambda: len(fake.asked) > before)
    assert fake.asked[before] == (0, [1, 2, 3, 4])
    assert shown(page) == 1
    page.wait_for_timeout(500)
    assert press(page, "a") == 3
    until(lambda: [a["query"] for a in fake.answers.values()] == [1])
    before = len(fake.asked)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: any(n == 0 for n, _ in fake.asked[before:]))


def test_a_page_that_closes_gives_back_what_it_has(context: Any, page: Any, server: Running) -> None:
    open_pair(page, server)
    holds(page, server, [1, 2, 3, 4])
    page.reload()
    until(lambda: server.fake.released == [1, 2, 3, 4])
    has_pair(page)  # and goes on with the same
    assert shown(page) == 1
    page.wait_for_timeout(160)
    assert press(page, "a") == 2
    until(lambda: len(server.fake.answers) == 1)
    page.close()
    until(lambda: sorted(server.fake.released[4:]) in ([2, 3, 4], [2, 3, 4, 5]))


def test_nobody_at_the_page_keeps_nothing_from_others(page: Any, server: Running) -> None:
    page.clock.install()
    open_pair(page, server)
    holds(page, server, [1, 2, 3, 4])
    page.clock.run_for(130_000)
    before = -1
    while before != len(server.fake.asked):  # until what was on its way has arrived, however slow the machine
        before = len(server.fake.asked)
        page.wait_for_timeout(700)
    page.clock.run_for(200_000)
    page.wait_for_timeout(300)
    assert len(server.fake.asked) == before
    page.mouse.move(200, 200)
    until(lambda: server.fake.asked[before:] == [(0, [1, 2, 3, 4])])


def test_the_budget_is_what_was_charged(page: Any, server: Running) -> None:
    server.fake.status |= {"labels": 5, "spent": 40}
    open_pair(page, server)
    assert page.inner_text("#strip-labels") == "5 labels · 40 / 100"
    assert page.evaluate("document.getElementById('budget').value") == 0.4


def test_what_the_reward_learned(page: Any, server: Running) -> None:
    ranked = [
        {"clip": name, "frames": server.fake.frames[name], "score": 1.5 - i} for i, name in enumerate(server.fake.names)
    ]
    foreseen = {"share": 0.81, "low": 0.7, "high": 0.89, "of": 30}
    server.fake.learned = {"answers": 60, "foreseen": foreseen, "best": ranked[:3], "worst": ranked[-3:]}
    server.fake.status["learned"] = {"answers": 60, "foreseen": 0.81, "of": 30}
    open_pair(page, server)
    page.locator("#learned-button").click()
    page.locator("#learned video").first.wait_for()
    assert "81 % of 30 fresh answers" in page.inner_text("#learned-text")
    assert page.locator("#learned-best video").count() == page.locator("#learned-worst video").count() == 3
    page.keyboard.press("Escape")
    assert not page.locator("#learned").is_visible()
    press(page, "a")


def test_nothing_opens_by_itself_over_a_pair(page: Any, server: Running) -> None:
    foreseen = {"share": 0.81, "low": 0.7, "high": 0.89, "of": 30}
    server.fake.learned = {"answers": 60, "foreseen": foreseen, "best": [], "worst": []}
    server.fake.status["learned"] = {"answers": 60, "foreseen": 0.81, "of": 30}
    open_pair(page, server)
    for number in range(35):
        press(page, "ad"[number % 2])
        assert page.locator("dialog[open]").count() == 0
    until(lambda: len(server.fake.answers) == 35)


def test_what_is_not_told_leaves_no_gap_on_the_page(page: Any, server: Running) -> None:
    hidden = ("name", "env_steps", "steps", "next_questions_at", "budget", "spent", "learned")
    server.fake.status |= dict.fromkeys(hidden)
    server.fake.labels = lambda: None  # type: ignore[method-assign]
    open_pair(page, server)
    assert page.inner_text("#run") == "point_reach"
    told = [text.strip() for text in page.locator(".strip dd").all_inner_texts()]
    assert told == ["0", "", "\u2013", "", "1,000 / 1,000", ""]
    assert page.locator(".strip dd:visible").count() == 3
    assert not page.locator("#learned-button").is_visible()
    press(page, "a")
    server.fake.pairs_left = 0
    page.evaluate("sessionStorage.clear()")
    page.goto("about:blank")
    sign_in(page, server, "bob")
    page.locator("#empty[data-state=answered]").wait_for()
    for word in ("null", "undefined", "NaN", "step"):
        assert word not in page.inner_text("body")


def test_the_theme_is_kept(page: Any, server: Running) -> None:
    page.goto(server.url)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    for _ in range(2):
        page.locator("#theme").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark


CONTRAST = """(pairs) => {
  const probe = document.body.appendChild(document.createElement("i"));
  const luminance = (name) => {
    probe.style.color = `var(--${name})`;
    const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return pairs.map(([a, b]) => Math.max(luminance(a) / luminance(b), luminance(b) / luminance(a)));
}"""


def test_text_stands_out_in_both_themes(page: Any, server: Running) -> None:
    """WCAG 2 AA: 4.5 for text, 3 for the edges of buttons and fields."""
    page.goto(server.url)
    texts = [(a, b) for a in ("text", "muted") for b in ("page", "card", "sunk")]
    texts += [("text", b) for b in ("call", "warn", "tint")] + [("on-accent", "accent"), ("accent", "card")]
    edges = [("edge", "card"), ("edge", "page"), ("accent", "page")]
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        for wanted, pairs in ((4.5, texts), (3.0, edges)):
            got = page.evaluate(CONTRAST, pairs)
            assert [p for p, ratio in zip(pairs, got, strict=True) if ratio < wanted] == [], theme
