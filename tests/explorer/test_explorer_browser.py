"""The page in a real headless Chromium: what must work on any screen, and what leaves it."""
# ruff: noqa: F401, F811

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Tab, browser, file, library, opened, tab

from sdesam.explorer.state import State

pytestmark = pytest.mark.browser
WAIT = 20_000


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
    page.locator("dialog").wait_for(state="detached")  # the browser tells of the closing in a later task
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
        tab.until(f"sdesam.root.dataset.theme === '{scheme}'")
        ratios = tab.ask("""() => { const s = getComputedStyle(sdesam.root), lum = (h) => { const c = [1, 3, 5].map(k =>
            parseInt(h.slice(k, k + 2), 16) / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
          const of = (n) => lum(s.getPropertyValue('--' + n).trim()), ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          const full = (h) => h.length === 4 ? '#' + [...h.slice(1)].map(c => c + c).join('') : h;
          return [['ink', 'paper'], ['muted', 'paper'], ['red', 'paper'], ['amber', 'amber-ground'], ['model-ink', 'paper'], ['paper', 'algorithm'], ['algorithm', 'paper'], ['check', 'paper'], ['theory', 'paper']]
            .map(([a, b]) => [a, ratio(of(a), of(b))]); }""")
        low = {name: ratio for name, ratio in ratios if ratio < 4.5}
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


def test_curves_far_beyond_their_frame_are_cut(tab, tmp_path):
    """Theory's spread grows by e^(lambda t): each dash of it, made a million pixels off the screen, froze the page."""
    tab.ask("sdesam.set({method: 'sgd', sigma: 0.1, eta: 0.02, horizon: 1000, absorb: false})")
    tab.until("sdesam.pair.k > 5")
    assert max(tab.ask("sdesam.spread")) > 1e6
    tab.page.locator(".menu summary").click()
    with tab.page.expect_download(timeout=WAIT) as waiting:
        tab.page.get_by_role("button", name="SVG picture").click()
    waiting.value.save_as(tmp_path / "x.svg")
    paths = re.findall(r' d="([^"]*)"', (tmp_path / "x.svg").read_text())
    assert max(abs(float(v)) for path in paths for v in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", path)) < 3000


def test_copied_python_runs_and_copied_command_parses(tab, library):
    import contextlib
    import io
    import shlex

    from sdesam.cli.app import app

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
