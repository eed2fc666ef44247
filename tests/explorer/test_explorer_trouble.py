"""The page in a real headless Chromium when something is wrong: every row of its trouble table, and what users met."""
# ruff: noqa: E501, F401, F811

import threading
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import Tab, browser, file, library, opened, tab

from sdesam.explorer.library import library_of
from sdesam.explorer.presets import PRESETS
from sdesam.explorer.server import start_server
from sdesam.explorer.state import State

pytestmark = pytest.mark.browser


@pytest.fixture
def serve():
    """Address of a server for a library and a state."""
    running = []

    def start(library, state):
        server = start_server(library, library.checked(state))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/{server.application.token}/"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


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
    ({"start": [3, 0]}, "outside the box"),
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
    with tab.page.expect_download() as waiting:
        tab.ask("sdesam.panel.exports()[1][1]()")
    svg = waiting.value.path().read_text()
    assert "NaN" not in svg and "Infinity" not in svg
    ElementTree.fromstring(svg)


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
    tab.ask("() => { sdesam.frames = 60; for (let i = 0; i < 9; i++) { sdesam.work = 60; sdesam.measure(60); } }")
    assert sum("This is heavy" in t for t in tab.banners()) == 1  # a slow machine is told once, not every few seconds
    tab.page.get_by_role("button", name="Use 1,000 particles").click()
    assert tab.state()["n"] == 1000


def test_a_hidden_tab_pauses(tab):
    tab.ask("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    k = tab.ask("sdesam.pair.k")
    frames = tab.ask("sdesam.frames")
    tab.until(f"sdesam.frames > {frames + 5}")
    assert tab.ask("sdesam.pair.k") == k
    painted, cells = tab.ask("[sdesam.painted, sdesam.phase.next]")
    tab.until(f"sdesam.frames > {frames + 15}")
    assert tab.ask("[sdesam.painted, sdesam.phase.next]") == [painted, cells]  # nothing is computed for nobody


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


def test_an_address_of_another_landscape_shows_what_the_page_has(browser, file):
    with opened(browser, file, "landscape=double-well&eta=0.1") as tab:
        assert tab.state()["landscape"] == "saddle" and tab.errors == []
        assert "double-well with sam could not be loaded (it is not in this page); saddle" in tab.banners()[0]
        tab.until("sdesam.pair.k > 2")


def test_a_model_of_another_method_becomes_its_own(browser, file):
    with opened(browser, file, "method=usam&model=as-printed") as tab:
        assert tab.state()["model"] == "theory" and "as-printed" in tab.banners()[0]
        assert tab.page.get_by_label("Beside it").input_value() == "theory"


def test_large_seeds_survive_the_address(browser, file):
    with opened(browser, file, f"seed={2**53 - 5}") as tab:
        assert tab.state()["seed"] == 2**53 - 5
        tab.ask("sdesam.set({eta: 0.05})")
        tab.until("location.hash.includes('eta=0.05')")
        assert State.from_fragment(tab.ask("location.hash")).seed == 2**53 - 5


def labels_of(tab, changes):
    """Labels of the plots after a change of state."""
    return tab.ask(
        """c => { const seen = [], ctx = CanvasRenderingContext2D.prototype, old = ctx.fillText;
        ctx.fillText = function (t, ...r) { seen.push(t); return old.call(this, t, ...r); };
        sdesam.set(c); for (let k = 0; k < 5; k++) sdesam.step(); sdesam.drawPlots(sdesam.colors());
        ctx.fillText = old; return seen; }""",
        changes,
    )


def test_an_exit_that_never_comes_is_told_in_words(tab):
    labels = labels_of(tab, {"method": "usam", "rho": 2, "sigma": 0.05, "eta": 0.01})
    assert "theory: mean exit never within this run" in labels
    assert not any("e1" in t and "theory" in t for t in labels)


def test_ticks_of_a_narrow_axis_differ(tab):
    labels = labels_of(
        tab, {"quantity": "x[0]", "sigma": 0.001, "start": [0.4, 0], "eta": 0.0001, "method": "sgd", "horizon": 1}
    )
    marks = labels[: labels.index("0")]  # of the first plot's vertical axis, before those of its time
    assert len(marks) >= 3 and len(set(marks)) == len(marks)


def test_curves_stay_in_their_panels_of_an_svg(tab):
    with tab.page.expect_download() as waiting:
        tab.ask("sdesam.panel.exports()[1][1]()")
    root = ElementTree.parse(waiting.value.path()).getroot()
    clipped = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("clip-path")]
    assert len(clipped) >= 7 and all(len(g) for g in clipped)  # two maps with two layers each, three plots


def test_less_motion_waits_for_play(browser, file):
    with Tab(browser, f"file://{file}", reduced_motion="reduce") as tab:
        time.sleep(0.5)
        assert tab.ask("sdesam.pair.k") == 0 and tab.ask("sdesam.playing") is False
        tab.page.get_by_role("button", name="Play").click()
        tab.until("sdesam.pair.k > 2")


def test_a_paused_screen_follows_the_theme(tab):
    tab.ask("sdesam.play(false)")
    time.sleep(0.3)
    before = tab.ask("sdesam.painted")
    tab.page.emulate_media(color_scheme="dark")
    tab.until(f"sdesam.painted > {before}")


@pytest.mark.parametrize(("attribute", "dark", "light"), [
    ("data-jp-theme-light", "false", "true"), ("class", "vscode-dark", "vscode-light"),
    ("class", "vscode-high-contrast", "vscode-high-contrast vscode-high-contrast-light"),
    ("class", "dark dark-theme", "light light-theme"),
])  # fmt: skip
def test_a_notebooks_theme_goes_before_the_systems(tab, attribute, dark, light):
    ground = "getComputedStyle(sdesam.root).getPropertyValue('--paper').trim()"
    for scheme, value, paper in (("light", dark, "#0d1117"), ("dark", light, "#ffffff"), ("light", dark, "#0d1117")):
        tab.page.emulate_media(color_scheme=scheme)
        before = tab.ask("sdesam.play(false), sdesam.painted")
        tab.ask("([name, value]) => document.body.setAttribute(name, value)", [attribute, value])
        tab.until(f"{ground} === '{paper}' && sdesam.painted > {before}")
    tab.ask("name => document.body.removeAttribute(name)", attribute)
    tab.until(f"{ground} === '#ffffff'")


def test_the_exit_box_by_keyboard(tab):
    page = tab.page
    if not tab.ask("document.querySelector('.more').open"):
        page.locator(".more summary").press("Enter")
    left, right = page.get_by_label("exit box left"), page.get_by_label("exit box right")
    left.fill("0.7")  # right of the right edge: bad until that one has moved
    assert left.get_attribute("aria-invalid") == "true" and tab.state()["box"] == [-0.5, 0.5, -0.5, 0.5]
    left.press("Tab")
    right.fill("0.9")
    assert right.get_attribute("aria-invalid") is None and tab.state()["box"] == [0.7, 0.9, -0.5, 0.5]
    top = page.get_by_label("exit box top")
    top.press("ArrowUp")
    top.press("Shift+ArrowUp")
    assert tab.state()["box"] == pytest.approx([0.7, 0.9, -0.5, 0.72]) and top.input_value() == "0.72"
    top.fill("99")
    assert page.locator(".several .hint").inner_text() == "left < right, bottom < top, within ±20"
    page.get_by_role("button", name="Restart").focus()
    assert top.input_value() == "0.72" and page.locator(".several .hint").inner_text() == ""
    page.locator("canvas").first.focus()
    page.keyboard.press("?")
    assert "exit box" in page.locator("dialog").inner_text()


def test_a_switched_method_stays_switched_until_another_is_chosen(browser, file):
    with opened(browser, file, "method=sgd&switch_at=0.2&switch_to=usam&eta=0.05&n=50&horizon=50") as tab:
        tab.ask("() => { sdesam.play(false); sdesam.restart(); for (let k = 0; k < 6; k++) sdesam.step(); }")
        assert tab.ask("sdesam.pair.state.method") == "usam"
        tab.ask("sdesam.set({sigma: 0.2})")
        assert tab.ask("[sdesam.pair.state.method, sdesam.pair.state.sigma]") == ["usam", 0.2]
        tab.page.get_by_label("Method").select_option("sam")
        assert tab.ask("sdesam.pair.state.method") == "sam" and tab.state()["switch_at"] == 0
        tab.ask("sdesam.step()")
        assert tab.ask("sdesam.pair.state.method") == "sam" and tab.errors == []


def test_arrow_keys_on_a_map_move_the_start(tab):
    tab.page.locator("canvas").first.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Shift+ArrowUp")
    assert tab.state()["start"] == pytest.approx([0.02, 0.2])
    assert tab.ask("sdesam.pair.sides.algorithm.x[0]") == pytest.approx(0.02, abs=0.05)


def test_help_opens_once_and_keys_rest_meanwhile(tab):
    tab.page.locator("canvas").first.focus()
    tab.page.keyboard.press("?")
    k = tab.ask("sdesam.play(false), sdesam.pair.k")
    tab.page.keyboard.press("?")
    tab.page.keyboard.press(".")
    assert tab.page.locator("dialog").count() == 1 and tab.ask("sdesam.pair.k") == k


PICTURE = """() => { sdesam.play(false); sdesam.restart(); for (let k = 0; k < 40; k++) sdesam.step(); sdesam.draw();
  return [Array.from(sdesam.pair.sides.SDE.x.slice(0, 9)), sdesam.panel.canvases.algorithm.toDataURL()]; }"""


def test_the_same_seed_gives_the_same_picture(tab):
    points, picture = tab.ask(PICTURE)
    tab.until("sdesam.phase.next > 0")
    assert tab.ask(PICTURE) == [points, picture]
    tab.ask("sdesam.set({seed: 5})")
    other, _ = tab.ask(PICTURE)
    assert other != points


def test_theory_of_an_exit_is_for_starts_at_the_saddle(tab):
    said = "theory: mean exit"
    assert any(said in t for t in labels_of(tab, {"method": "sgd", "rho": 0.1, "sigma": 0.25, "eta": 0.01}))
    assert not any(said in t for t in labels_of(tab, {"start": [0, 0.4]}))
    assert any(said in t for t in labels_of(tab, {"start": [0.3, 0.02]}))  # along the stable axis it does not matter
    assert "the box absorbs nothing now" in labels_of(tab, {"start": [0, 0], "absorb": False})


# ----------------------------------------------------------------- the server's page
def test_sam_without_noise_from_the_server_is_dnsam(browser, library, serve):
    address = serve(library, PRESETS[0].state)
    with Tab(browser, f"{address}#method=sam&sigma=0&start=0.3,0.1&n=10") as tab:
        tab.ask("() => { for (let k = 0; k < 50; k++) sdesam.step(); }")
        assert tab.ask("sdesam.pair.sides.SDE.diverged") == 0


def test_stories_and_landscapes_from_the_server(browser, library, serve):
    with Tab(browser, serve(library, PRESETS[0].state)) as tab:
        tab.page.get_by_label("Story").select_option("switch-to-sam")
        tab.until("sdesam.state.landscape === 'tanh-network'")
        tab.ask("() => { sdesam.set({n: 10}); while (sdesam.pair.t < 20.2) sdesam.step(); }")
        assert tab.ask("sdesam.pair.state.method") == "sam" and tab.state()["method"] == "sgd"
        tab.page.get_by_label("Landscape").select_option("quadratic")
        tab.until("location.hash.includes('landscape=quadratic')")
        assert tab.page.locator(".story").inner_text() == ""
        assert tab.errors == []


def test_the_last_choice_wins(browser, library, serve):
    with Tab(browser, serve(library, PRESETS[0].state)) as tab:
        tab.ask("""() => { const load = sdesam.host.load; sdesam.host.load = async (l, m) => {
          if (l === 'double-well') await new Promise((go) => (globalThis.go = go)); return load(l, m); };
          sdesam.set({landscape: 'double-well'}); sdesam.set({landscape: 'quadratic'}); }""")
        tab.until("sdesam.state.landscape === 'quadratic'")
        tab.ask("go()")
        tab.until("sdesam.config.sciences.some((s) => s.landscape === 'double-well')")
        time.sleep(0.2)
        assert tab.state()["landscape"] == "quadratic"


def test_a_landscape_that_does_not_trace_is_told_in_its_own_words(browser, serve):
    def branchy(x):
        return x[..., 0] ** 2 if x.sum() > 0 else x[..., 1] ** 2

    address = serve(library_of(branchy)[0], PRESETS[0].state)
    with Tab(browser, address) as tab:
        tab.page.get_by_label("Landscape").select_option("branchy")
        tab.until("document.querySelector('.banner.warning') !== null")
        assert "import" not in tab.banners()[0] and "test_explorer_trouble.py" in tab.banners()[0]
        assert tab.state()["landscape"] == "saddle"
