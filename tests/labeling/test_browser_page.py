"""The local page, driven by a real browser."""

import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from skal.labeling._server import serve
from tests.labeling._watched import GATE, Gated, watched

pytestmark = pytest.mark.browser
TEXTS = [f"text {i}" for i in range(20)]
# Every string the page shows is one of these somewhere.
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><style>*{display:none}</style>",
    "javascript:alert(1)",
    '"><iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} $(alert)",
    "</td></table><a href='http://elsewhere.example/' autofocus onfocus=alert(1)>x</a>",
    "\u202eright to left\u0000\ud800 \x1b[2J",
]


@pytest.fixture
def expect():
    return pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def open_page(page):
    """Serve a session and go to its page: the labeller's element."""
    served = []

    def open_page(session, **options):
        served.append(serve(session, open_browser=False, **options))
        page.goto(served[-1].url)
        return page.locator(".skal-labeler")

    yield open_page
    for one in served:
        one.close()


def start(open_page, n_instances=6, classes=("cat", "dog"), **options):
    session = watched(TEXTS, list(classes), n_instances)
    return session, open_page(session, **options)


def test_keys_click_skip_later_and_undo(open_page, page, expect):
    session, root = start(open_page)
    text, status = root.locator(".skal-text"), root.get_by_role("status")
    expect(text).to_have_text("text 0")
    page.keyboard.press("2")
    expect(text).to_have_text("text 1")
    expect(status).to_have_text("Saved: dog.")
    assert session.labels == {0: "dog"}  # the next row appears after it is stored
    root.get_by_role("button", name="cat").click()
    expect(text).to_have_text("text 2")
    page.keyboard.press("s")
    expect(text).to_have_text("text 3")
    page.keyboard.press("L")
    expect(text).to_have_text("text 4")
    page.keyboard.press("Backspace")
    expect(text).to_have_text("text 3")
    page.keyboard.press("u")
    expect(text).to_have_text("text 2")
    for row in (1, 0):
        root.get_by_role("button", name="Undo").click()
        expect(text).to_have_text(f"text {row}")
    assert session.labels == {} and session.skipped == []
    for row in range(6):
        expect(text).to_have_text(f"text {row}")
        page.keyboard.press("1")
    expect(status).to_contain_text("There is no row left to ask about.")
    expect(root.get_by_role("button", name="Cannot tell")).to_be_disabled()
    assert session.labels == dict.fromkeys(range(6), "cat")
    assert all(0 < seconds < 60 for seconds in session.seconds)
    assert page.evaluate("document.activeElement.className") == "skal-labeler"


def test_other_keys_do_nothing(open_page, page, expect):
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")
    for key in ("Control+1", "Alt+1", "Meta+1", "3", "0", "a", "Enter", "Escape", "Control+z"):
        page.keyboard.press(key)
    # A key that is held down repeats; only its first press counts.
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    expect(root.locator(".skal-text")).to_have_text("text 1")
    assert session.labels == {0: "cat"}
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("1")
    page.wait_for_timeout(200)
    assert session.labels == {0: "cat"}


def test_three_fast_presses_store_one(open_page, page, expect):
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")
    gate = threading.Event()
    teach = session.teach
    session.teach = lambda *args, **kw: (gate.wait(20), teach(*args, **kw))
    page.evaluate(
        """for (let i = 0; i < 3; i++) document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: "1", bubbles: true}))"""
    )
    expect(root).to_have_attribute("aria-busy", "true")
    expect(root.locator(".skal-text")).to_have_text("text 0")
    assert session.labels == {}
    gate.set()
    expect(root.locator(".skal-text")).to_have_text("text 1")
    assert session.labels == {0: "cat"}


def test_no_answer_is_said_and_tried_again_with_the_same_uid(open_page, page, context, expect):
    page.clock.install()
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")
    held = []
    page.route("**/api", lambda route: route.continue_() if held else held.append(route))
    page.keyboard.press("2")
    expect(root).to_have_attribute("aria-busy", "true")
    page.clock.fast_forward(5000)
    status = root.get_by_role("status")
    expect(status).to_contain_text("No answer from Python: the last answer may not be saved.")
    page.keyboard.press("1")  # not while the fate of the last one is unknown
    root.get_by_role("button", name="Try again").click()
    expect(root.locator(".skal-text")).to_have_text("text 1")
    with page.expect_response("**/api"):
        held[0].continue_()  # the first comes through after all
    expect(root.locator(".skal-text")).to_have_text("text 1")
    expect(root.get_by_role("button", name="Try again")).to_be_hidden()
    assert session.labels == {0: "dog"} and len(session.events) == 1


def test_python_gone_is_said(page, context, expect):
    page.clock.install()
    session = watched(TEXTS, ["cat", "dog"], 5)
    served = serve(session, open_browser=False)
    page.goto(served.url)
    expect(page.locator(".skal-text")).to_have_text("text 0")
    served.close()
    page.route("**/api", lambda route: route.abort())
    page.keyboard.press("1")
    page.clock.fast_forward(5000)
    expect(page.get_by_role("status")).to_contain_text("No answer from Python")
    assert session.labels == {}
    context.seen.clear()  # the browser logs that the connection was refused


def test_two_tabs_agree(open_page, page, context, expect):
    session, root = start(open_page)
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".skal-text")).to_have_text("text 0")
    page.keyboard.press("1")
    expect(root.locator(".skal-text")).to_have_text("text 1")
    other.keyboard.press("2")  # a row that was answered in the other tab
    expect(other.get_by_role("status")).to_contain_text("NOT saved")
    expect(other.locator(".skal-text")).to_have_text("text 1")
    assert session.labels == {0: "cat"}
    other.keyboard.press("2")
    expect(other.locator(".skal-text")).to_have_text("text 2")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(root.locator(".skal-text")).to_have_text("text 2")
    assert session.labels == {0: "cat", 1: "dog"}


def test_the_time_of_a_hidden_tab_does_not_count(open_page, page, expect):
    page.clock.install()
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")

    def hide(hidden):
        page.evaluate(
            f"""Object.defineProperty(document, "hidden", {{value: {hidden}, configurable: true}});
            document.dispatchEvent(new Event("visibilitychange"))"""
        )

    page.clock.fast_forward(3000)
    hide("true")
    page.clock.fast_forward(60_000)
    hide("false")
    expect(root).not_to_have_attribute("aria-busy", "true")
    page.clock.fast_forward(2000)
    page.keyboard.press("1")
    expect(root.locator(".skal-text")).to_have_text("text 1")
    assert 5 <= session.seconds[0] < 9


def test_the_next_rows_come_by_themselves_after_a_training(open_page, page, expect):
    session = watched(TEXTS, ["cat", "dog"], 2, model=Gated(), background=True)
    root = open_page(session)
    GATE.clear()
    try:
        expect(root.locator(".skal-text")).to_have_text("text 0")
        page.keyboard.press("1")
        expect(root.locator(".skal-text")).to_have_text("text 1")
        page.keyboard.press("2")
        status = root.get_by_role("status")
        expect(status).to_contain_text("Saved: dog. The model is training")
        expect(root.locator(".skal-item")).to_be_hidden()
    finally:
        GATE.set()
    expect(root.locator(".skal-text")).to_have_text("text 2")
    page.keyboard.press("2")  # the focus has stayed
    expect(root.locator(".skal-text")).to_have_text("text 3")
    assert session.labels == {0: "cat", 1: "dog", 2: "dog"}
    session.close()


def test_a_training_that_fails_is_said(open_page, page, expect):
    session = watched(
        TEXTS, ["cat", "dog"], 2, model=DummyClassifier(strategy="constant"), background=True
    )
    root = open_page(session)
    for row in (0, 1):
        expect(root.locator(".skal-text")).to_have_text(f"text {row}")
        page.keyboard.press(str(row + 1))
    status = root.get_by_role("status")
    expect(status).to_contain_text("The training failed. All answers are saved.")
    expect(status).to_contain_text("onstant")  # what the model said
    assert session.labels == {0: "cat", 1: "dog"}
    session.close()


def test_numbers(open_page, page, expect):
    session = watched(TEXTS, None, 6)
    root = open_page(session, answer="number")
    box = root.get_by_label("Value")
    expect(box).to_be_focused()  # the page starts with the focus in the labeller
    page.keyboard.type("12.5")
    page.keyboard.press("Enter")
    expect(root.locator(".skal-text")).to_have_text("text 1")
    expect(box).to_be_focused()
    expect(box).to_have_value("")
    page.keyboard.type("sul1")  # letters and digits are text here
    page.keyboard.press("Enter")
    expect(root.get_by_role("status")).to_contain_text("⚠ Nothing was saved: 'sul1' is no number.")
    expect(box).to_have_value("sul1")
    box.fill(str(2**60 + 1))
    root.get_by_role("button", name="Save").click()
    expect(root.locator(".skal-text")).to_have_text("text 2")
    page.keyboard.press("Escape")
    expect(root).to_be_focused()
    page.keyboard.press("s")
    expect(root.locator(".skal-text")).to_have_text("text 3")
    assert session.labels == {0: 12.5, 1: 2**60 + 1} and session.skipped == [2]


def test_many(open_page, page, expect):
    session, root = start(open_page, answer="many", classes=["red", "green", "blue"])
    expect(root.locator(".skal-text")).to_have_text("text 0")
    page.keyboard.press("1")
    root.get_by_role("button", name="blue").click()
    page.keyboard.press("2")
    page.keyboard.press("2")
    expect(root.get_by_role("button", name="red")).to_have_attribute("aria-pressed", "true")
    expect(root.get_by_role("button", name="green")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Enter")
    expect(root.locator(".skal-text")).to_have_text("text 1")
    expect(root.get_by_role("button", name="red")).to_have_attribute("aria-pressed", "false")
    root.get_by_role("button", name="Save").click()
    expect(root.locator(".skal-text")).to_have_text("text 2")
    assert session.labels == {0: [1, 0, 1], 1: [0, 0, 0]}


def test_letters_and_proposals(open_page, page, expect):
    session = watched(TEXTS, ["cat", "dog"], 4, proposal="dog")
    root = open_page(session, shortcuts={"cat": "c", "dog": ["d", "?"]}, proposal=True)
    expect(root.get_by_role("button", name="dog")).to_contain_text("suggested")
    expect(root.get_by_role("button", name="cat")).not_to_contain_text("suggested")
    for key, row in (("c", 1), ("D", 2), ("?", 3)):
        page.keyboard.press(key)
        expect(root.locator(".skal-text")).to_have_text(f"text {row}")
    assert list(session.labels.values()) == ["cat", "dog", "dog"]


def test_digits_have_themselves_for_keys(open_page, page, expect):
    X = np.zeros((3, 8, 8))
    X[:, 2:6, 3] = 16
    session = watched(X, list(range(10)), 3)
    root = open_page(session, show="image")
    picture = root.get_by_role("img", name="Picture of row 0")
    expect(picture).to_be_visible()
    assert page.evaluate("document.images[0].naturalWidth") == 240
    page.keyboard.press("0")
    expect(root.get_by_role("img", name="Picture of row 1")).to_be_visible()
    page.keyboard.press("7")
    expect(root.get_by_role("img", name="Picture of row 2")).to_be_visible()
    assert session.labels == {0: 0, 1: 7}


@pytest.mark.parametrize("show", ["row", "text", "callable"])
def test_hostile_names_and_cells_do_nothing(open_page, page, context, expect, show):
    frame = pd.DataFrame({name: HOSTILE for name in HOSTILE[:7]}, dtype=object)
    session = watched(frame, HOSTILE[:7], len(frame))
    way = (lambda row: {name: row.iloc[0] for name in HOSTILE}) if show == "callable" else show
    root = open_page(session, show=way, guide="\n".join(HOSTILE))
    for place in range(len(frame)):
        seen = HOSTILE[place][:20] if place < 7 else "right to left"
        expect(root.locator(".skal-item")).to_contain_text(seen)
        page.wait_for_timeout(50)
        buttons = root.locator(".skal-answers button")
        assert buttons.count() == 7
        expect(buttons.nth(1)).to_contain_text(HOSTILE[1])
        inside = root.evaluate("e => [...e.querySelectorAll('*')].map(x => x.localName)")
        assert not {"script", "svg", "style", "iframe", "a", "img", "object"} & set(inside)
        assert not root.evaluate(
            "e => [...e.querySelectorAll('*')].some(x => [...x.attributes].some("
            "a => a.name.startsWith('on')))"
        )
        buttons.nth(place % 7).click()
    expect(root.get_by_role("status")).to_contain_text("no row left")
    assert session.labels == {row: HOSTILE[row % 7] for row in range(len(frame))}
    assert page.title() == "skal: label rows" and context.seen == []


@pytest.mark.parametrize("width", [320, 390, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(open_page, page, expect, width, scheme):
    page.set_viewport_size({"width": width, "height": 700})
    page.emulate_media(color_scheme=scheme)
    frame = pd.DataFrame({"a_very_long_name_" * 6: ["x" * 500], "b": ["short"], "none": [None]})
    session = watched(frame, ["a class with a rather long name", "b", "word" * 30], 1)
    root = open_page(session)
    expect(root.get_by_role("cell", name="missing")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in root.evaluate(
        "e => [...e.querySelectorAll('button')].filter(b => !b.hidden).map(b => "
        "[b.getBoundingClientRect().width, b.getBoundingClientRect().height])"
    ):
        assert min(box) >= 32
    assert root.evaluate(CONTRAST) >= 7
    focus = root.evaluate(
        "e => getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth"
    )
    assert focus == "solid3px"


# The contrast of text and ground by WCAG 2.2, from what the browser paints.
CONTRAST = """e => {
  const paint = (colour) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
      (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]
    .map(paint).sort();
  return (b + 0.05) / (a + 0.05);
}"""


def test_the_page_keeps_to_its_policy(open_page, page, context, expect):
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")
    blocked = page.evaluate(
        """() => new Promise((done) => {
          const seen = [];
          document.addEventListener(
            "securitypolicyviolation", (e) => seen.push(e.effectiveDirective));
          const add = (tag, properties) =>
            document.body.append(Object.assign(document.createElement(tag), properties));
          add("script", {textContent: "document.title = 'run'"});
          add("img", {src: "http://127.0.0.1:9/x.png"});
          add("iframe", {src: "http://127.0.0.1:9/"});
          fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => done(seen.sort()), 300));
        })"""
    )
    assert blocked == ["connect-src", "frame-src", "img-src", "script-src-elem"]
    assert page.title() == "skal: label rows"
    context.seen.clear()  # the browser logs each refusal


def test_another_page_of_the_browser_gets_nothing(open_page, page, context, expect):
    """A page served at another port of this machine tries what a hostile one would."""
    session, root = start(open_page)
    expect(root.locator(".skal-text")).to_have_text("text 0")
    other_session = watched(TEXTS, ["cat"], 3)
    with serve(other_session, open_browser=False) as other:
        stranger = context.new_page()
        stranger.route(
            other.url, lambda route: route.fulfill(body="<p>evil</p>", content_type="text/html")
        )
        stranger.goto(other.url)
        target = page.url
        read = stranger.evaluate(
            f"""async () => {{
              const tries = [
                fetch({target!r}), fetch({target!r} + "labeler.js"),
                fetch({target!r} + "api", {{method: "POST", body: '{{"act": "undo"}}'}}),
                fetch({target!r} + "api", {{method: "POST", mode: "no-cors", body: "{{}}"}}),
                fetch({target!r} + "api", {{method: "POST", body: "{{}}",
                  headers: {{"Content-Type": "application/json"}}}}),
              ];
              const ends = await Promise.allSettled(tries);
              return ends.map((end) => end.status + (end.value?.type ?? ""));
            }}"""
        )
        assert set(read) <= {"rejected", "fulfilledopaque"}  # nothing can be read
    assert len(session.events) == 0
    context.seen.clear()  # the browser logs each refusal
