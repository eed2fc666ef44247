"""The page in a real headless Chromium: every row of its trouble table, and what must work on any screen."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from browser import chromium

from sdesam.explorer.library import library_of
from sdesam.explorer.page import config_of, page_html
from sdesam.explorer.presets import PRESETS
from sdesam.explorer.server import start_server
from sdesam.explorer.state import State

pytestmark = pytest.mark.browser
WAIT = 20_000


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def library():
    return library_of()[0]


@pytest.fixture(scope="module")
def file(library, tmp_path_factory):
    """The exported page of the saddle."""
    state = library.checked(PRESETS[0].state)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_html(config_of(state), [library.everything("saddle")]), encoding="utf-8")
    assert path.stat().st_size < 100_000
    return path


class Tab:
    """A page that has booted, with what it said and asked for."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**({"viewport": {"width": 1300, "height": 820}} | options))
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(address)
        self.until("globalThis.sdesam?.painted > 1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def ask(self, script, value=None):
        return self.page.evaluate(script, value)

    def state(self):
        return self.ask("sdesam.state")

    def banners(self):
        return self.page.locator(".banner span").all_inner_texts()

    def until(self, script, seconds=WAIT / 1000):
        """Asked again and again: the page's policy forbids the browser to evaluate strings for playwright."""
        for _ in range(int(20 * seconds)):
            if self.page.evaluate(script):
                return
            time.sleep(0.05)
        raise AssertionError(f"{script} did not become true in {seconds:g} s")


@pytest.fixture
def tab(browser, file):
    with Tab(browser, f"file://{file}") as found:
        yield found
        assert found.errors == []


def opened(browser, file, fragment, **options):
    return Tab(browser, f"file://{file}#{fragment}", **options)


# ----------------------------------------------------------------- it runs
def test_boots_from_disk_moving_and_asks_for_nothing(tab, file):
    tab.until("sdesam.pair.k > 3")
    assert [r for r in tab.requests if not r.startswith(("blob:", "data:"))] == [f"file://{file}"]
    assert tab.page.locator(".story").inner_text().startswith("SGD empties this box")


def test_click_sets_the_start_within_a_pixel(tab):
    canvas = tab.page.locator("canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": 230, "y": 60})
    x, y = tab.state()["start"]
    found = tab.ask("s => sdesam.frameOfMap.algorithm.to(...s)", [x, y])
    assert np.hypot(found[0] - 230, found[1] - 60) <= 1 and box is not None
    assert tab.ask("sdesam.pair.sides.SDE.x.length") == 2 * tab.state()["n"]


def test_drag_spreads_a_cloud_and_a_handle_moves_the_box(tab):
    box = tab.page.locator("canvas").first.bounding_box()
    mouse = tab.page.mouse
    left, top = box["x"], box["y"]
    mouse.move(left + 100, top + 100)
    mouse.down()
    mouse.move(left + 140, top + 100, steps=4)
    mouse.up()
    assert tab.state()["spread"] == pytest.approx(40 / tab.ask("sdesam.frameOfMap.algorithm.scale"), rel=0.05)
    edge, height = tab.ask("sdesam.frameOfMap.algorithm.to(sdesam.state.box[1], 0)")
    before = tab.state()["box"]
    mouse.move(left + edge, top + height)
    mouse.down()
    mouse.move(left + edge + 25, top + height, steps=4)
    mouse.up()
    after = tab.state()["box"]
    assert after[1] > before[1] + 0.05 and after[0] == before[0]


def test_state_round_trips_through_the_address(browser, file, tab):
    text = "landscape=saddle&method=usam&eta=0.031&rho=0.27&n=777&seed=12&start=0.1,-0.2&shared=1&quantity=x[1]&p.curvature=1.7"
    with opened(browser, file, text) as other:
        state = other.state()
        assert other.banners() == [] and other.errors == []
        assert State.of(state) == State.from_fragment(text)
        other.ask("sdesam.set({eta: 0.05})")
        other.until("location.hash.includes('eta=0.05')")
        again = State.from_fragment(other.ask("location.hash"))
        assert again == State.of(other.state())


def test_keyboard(tab):
    page = tab.page
    page.locator("canvas").first.focus()
    page.keyboard.press(" ")
    assert tab.ask("sdesam.playing") is False
    k = tab.ask("sdesam.pair.k")
    page.keyboard.press(".")
    assert tab.ask("sdesam.pair.k") == k + 1
    page.keyboard.press("p")
    assert tab.ask("sdesam.pins.length") == 1
    page.keyboard.press("r")
    assert tab.ask("sdesam.pair.k") == 0
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog").count() == 0
    heard = tab.ask("() => { let n = 0; document.addEventListener('keydown', () => n++); globalThis.heard = () => n; }")
    page.locator("canvas").first.focus()
    page.keyboard.press("r")
    assert heard is None and tab.ask("heard()") == 0  # nothing leaks to the host's shortcuts


def test_arrow_keys_move_by_one_and_ten_per_cent(tab):
    slider = tab.page.get_by_label("η learning rate slider")
    slider.focus()
    eta = tab.state()["eta"]
    tab.page.keyboard.press("ArrowRight")
    assert tab.state()["eta"] == pytest.approx(1.01 * eta, rel=1e-4)
    tab.page.keyboard.press("Shift+ArrowRight")
    assert tab.state()["eta"] == pytest.approx(1.01 * 1.1 * eta, rel=1e-4)


# ----------------------------------------------------------------- trouble, row by row
def test_hostile_address(browser, file):
    text = (
        "eta=fast&rho=99&nonsense=1&method=adam&landscape=%3Cimg%20src=x%20onerror=alert(1)%3E&start=1&box=3,2,1,0"
        "&p.curvature=abc&p.__proto__=1&constructor=1&shared=maybe&n=1e9&seed=-1&sigma="
    )
    with opened(browser, file, text) as tab:
        state, banners = tab.state(), tab.ask("[...document.querySelectorAll('.banner span')].map(n => n.textContent)")
        assert state["eta"] == 0.01 and state["rho"] == 2 and state["n"] == 20_000 and state["seed"] == 0
        assert state["method"] == "sam" and state["landscape"] == "saddle" and state["start"] == [0, 0]
        assert tab.errors == [] and len(banners) == 6  # the last six; each can be dismissed
        assert tab.page.locator("img").count() == 0
        tab.page.get_by_label("Dismiss").first.click()
        assert tab.page.locator(".banner").count() == 5


def test_markup_in_an_address_stays_text(browser, file):
    with opened(browser, file, "landscape=%3Cimg%20src=x%3E") as tab:
        assert "“<img src=x>”" in tab.banners()[0] and tab.page.locator(".sdesam img").count() == 0


def test_typed_value_out_of_range(tab):
    field = tab.page.locator("[data-name=eta]")
    field.fill("7")
    assert field.get_attribute("aria-invalid") == "true"
    assert tab.page.locator(".hint", has_text="0.0001 … 2").count() == 1
    assert tab.state()["eta"] == 0.02  # the last good value
    field.fill("0.03")
    assert field.get_attribute("aria-invalid") is None and tab.state()["eta"] == 0.03


@pytest.mark.parametrize(("changes", "words"), [
    ({"eta": 2.0, "method": "sgd"}, "above the stability limit"),
    ({"rho": 0}, "SAM with rho = 0 is SGD."),
    ({"sigma": 0}, "nothing can leave"),
    ({"substeps": 1, "integrator": "euler"}, "nearly is the algorithm"),
])  # fmt: skip
def test_notes_that_a_reader_needs(tab, changes, words):
    tab.ask("c => sdesam.set(c)", changes)
    assert any(words in t for t in tab.page.locator(".amber").all_inner_texts())
    tab.until("sdesam.pair.k > 0 || sdesam.finished")


def test_without_noise_nothing_moves_off_the_stable_manifold(tab):
    tab.ask("sdesam.set({sigma: 0, start: [0.3, 0]})")
    tab.ask("() => { for (let k = 0; k < 50; k++) sdesam.step(); }")
    assert tab.ask("Math.max(...[...sdesam.pair.sides.SDE.x.slice(2000)].map(Math.abs))") == 0
    assert tab.ask("sdesam.pair.sides.SDE.x.every(Number.isFinite)")


def test_divergence_is_counted_and_never_shown_as_a_number(tab):
    tab.ask("sdesam.set({method: 'sgd', absorb: false, eta: 2, horizon: 200, sigma: 1, start: [0.5, 0.5]})")
    tab.ask("() => { for (let k = 0; k < 60; k++) sdesam.step(); sdesam.draw(); sdesam.drawPlots(sdesam.colors()); }")
    text = tab.page.locator(".status").inner_text()
    assert "diverged: 4000" in text and "NaN" not in text
    assert any("frozen and left out" in t for t in tab.banners())
    assert tab.ask("sdesam.pair.sides.algorithm.x.every(Number.isFinite)")
    svg = tab.ask("svgOf(sheetPanels(sdesam.panel.draws()), [], sdesam.colors()).text()") if False else text
    assert "NaN" not in svg and "Infinity" not in svg


def test_axis_labels_stay_short(tab):
    labels = tab.ask("""() => { const seen = [], ctx = CanvasRenderingContext2D.prototype, old = ctx.fillText;
      ctx.fillText = function (t, ...r) { seen.push(t); return old.call(this, t, ...r); };
      sdesam.set({absorb: false, eta: 0.1, sigma: 5, horizon: 30, method: 'sgd'});
      for (let k = 0; k < 250; k++) sdesam.step();
      sdesam.drawPlots(sdesam.colors()); ctx.fillText = old; return seen; }""")
    numbers = [t for t in labels if t[:1] in "-0123456789"]
    assert len(numbers) > 10 and all(len(t) <= 8 for t in numbers) and not any("NaN" in t for t in labels)


def test_too_heavy_draws_fewer_and_offers_fewer(tab):
    tab.ask(
        "() => { sdesam.work = 60; sdesam.frames = 60; for (let i = 0; i < 3; i++) { sdesam.work = 60; sdesam.measure(60); } }"
    )
    assert tab.ask("sdesam.most") == 1500 and any("1,500 of 2000" in t for t in tab.banners())
    tab.ask("() => { sdesam.frames = 60; for (let i = 0; i < 3; i++) { sdesam.work = 60; sdesam.measure(60); } }")
    tab.page.get_by_role("button", name="Use 1,000 particles").click()
    assert tab.state()["n"] == 1000


def test_a_hidden_tab_pauses(tab):
    tab.ask("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    k = tab.ask("sdesam.pair.k")
    frames = tab.ask("sdesam.frames")
    tab.until(f"sdesam.frames > {frames + 5}")
    assert tab.ask("sdesam.pair.k") == k


def test_the_tool_kit_gone(browser, library):
    server = start_server(library, library.checked(PRESETS[0].state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Tab(browser, f"http://127.0.0.1:{server.server_port}/{server.application.token}/") as tab:
        outside = [r for r in tab.requests if not r.startswith((f"http://127.0.0.1:{server.server_port}/", "data:"))]
        assert outside == [] and tab.errors == []
        server.shutdown()
        server.server_close()
        tab.context.route("**/check", lambda route: route.abort())  # kept connections would still be answered
        tab.page.get_by_role("button", name="Check with the toolkit").click()
        tab.until("document.querySelector('.banner.warning') !== null")
        assert "goes on" in tab.banners()[-1]
        k = tab.ask("sdesam.pair.k")
        tab.until(f"sdesam.pair.k > {k} || sdesam.finished")


def test_check_with_the_toolkit_agrees_with_the_page(browser, library):
    state = library.checked(State(method="usam", eta=0.1, rho=0.2, sigma=0.3, horizon=2.0, substeps=2))
    server = start_server(library, state)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Tab(browser, f"http://127.0.0.1:{server.server_port}/{server.application.token}/") as tab:
            tab.ask("() => { while (!sdesam.finished) sdesam.step(); }")
            tab.ask("sdesam.checkWithToolkit()")
            assert tab.ask("sdesam.check !== null"), tab.banners()
            for side in ("algorithm", "SDE"):
                for what in ("quantity", "loss"):
                    page = tab.ask(f"sdesam.pair.series['{side}'].{what}.at(-1)")
                    kit = tab.ask(
                        f"(c => ({{value: c.value.at(-1), half: c.high.at(-1) - c.value.at(-1)}}))(sdesam.check.{what}['{side}'])"
                    )
                    spread = np.hypot(page["error"], kit["half"] / 1.96)
                    assert abs(page["mean"] - kit["value"]) <= 4 * spread
    finally:
        server.shutdown()
        server.server_close()


# ----------------------------------------------------------------- every screen
@pytest.mark.parametrize("width", [1300, 700, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(browser, file, width, scheme):
    options = {"viewport": {"width": width, "height": 820}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with Tab(browser, f"file://{file}", **options) as tab:
        assert tab.ask("document.documentElement.scrollWidth") <= width
        wide = tab.ask(
            """w => [...document.querySelectorAll('.sdesam *')].filter(n => n.checkVisibility() && !n.closest('.live, .marks') &&
            n.getBoundingClientRect().right > w + 1).map(n => n.className)""",
            width,
        )
        assert wide == [] and tab.errors == []
        if width == 1300:
            assert tab.ask("document.documentElement.scrollHeight") <= 820


def test_everything_has_a_name_and_enough_contrast(tab):
    nameless = tab.ask("""() => [...document.querySelectorAll('.sdesam button, .sdesam input, .sdesam select, .sdesam canvas')].filter(n =>
        !(n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length)).length""")
    assert nameless == 0 and tab.page.locator("[aria-live=polite]").count() == 1
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        ratios = tab.ask("""() => { const s = getComputedStyle(sdesam.root), lum = (h) => { const c = [1, 3, 5].map(k =>
            parseInt(h.slice(k, k + 2), 16) / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
          const of = (n) => lum(s.getPropertyValue('--' + n).trim()), ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          const full = (h) => h.length === 4 ? '#' + [...h.slice(1)].map(c => c + c).join('') : h;
          return [['ink', 'paper'], ['muted', 'paper'], ['red', 'paper'], ['amber', 'amber-ground'], ['model', 'paper'], ['algorithm', 'paper'], ['check', 'paper'], ['theory', 'paper']]
            .map(([a, b]) => [a, ratio(of(a), of(b))]); }""")
        low = {name: ratio for name, ratio in ratios if ratio < (3.8 if name == "model" else 4.5)}
        assert low == {}


# ----------------------------------------------------------------- what leaves the page
def test_downloads_parse(tab, tmp_path):
    tab.until("sdesam.pair.k > 5")
    found = {}
    for words, suffix in (("PNG picture", "png"), ("SVG picture", "svg"), ("JSON data", "json"), ("CSV data", "csv")):
        tab.page.locator(".menu summary").click()
        with tab.page.expect_download(timeout=WAIT) as waiting:
            tab.page.get_by_role("button", name=words).click()
        found[suffix] = tmp_path / f"x.{suffix}"
        waiting.value.save_as(found[suffix])
    import csv
    from xml.etree import ElementTree

    assert found["png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert ElementTree.parse(found["svg"]).getroot().tag.endswith("svg")
    document = json.loads(found["json"].read_text())
    assert State.of(document["state"]).method == "sam" and len(document["series"]) > 10
    rows = list(csv.DictReader(found["csv"].read_text().splitlines()))
    assert {r["side"] for r in rows} == {"algorithm", "SDE"} and float(rows[0]["n"]) == 2000


def test_copied_python_runs_and_copied_command_parses(tab, library):
    import contextlib
    import io
    import shlex

    from sdesam.cli import app

    tab.ask("sdesam.set({n: 32, horizon: 0.2, method: 'usam', substeps: 2})")
    tab.ask("sdesam.panel.copy = (text) => { globalThis.copied = text; }")
    for words in ("Copy Python", "Copy command"):
        tab.page.locator(".menu summary").click()
        tab.page.get_by_role("button", name=words).click()
        text = tab.ask("copied")
        if words == "Copy Python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(text, "copied.py", "exec"), {})
            assert said.getvalue().count("inside = 1 ±") == 2
        else:
            command, bound, _ = app.parse_args(shlex.split(text)[1:], exit_on_error=False, print_error=False)
            assert command.__name__ == "render" and bound.arguments["output"] == Path("explorer.pdf")
            assert library.checked(State.from_fragment(bound.arguments["state"])).n == 32
