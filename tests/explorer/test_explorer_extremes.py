"""The page at the edges of its ranges, in a real headless Chromium: slow clocks, long runs, no noise."""
# ruff: noqa: E501, F401, F811

import pytest
from browser import browser, file, library, opened, tab

pytestmark = pytest.mark.browser
LABELS = """() => { const seen = [], ctx = CanvasRenderingContext2D.prototype, old = ctx.fillText;
  ctx.fillText = function (text, x, y) { seen.push({ text, x, y, width: this.measureText(text).width, align: this.textAlign, room: this.canvas.getBoundingClientRect().width }); return old.call(this, text, x, y); };
  sdesam.drawPlots(sdesam.colors()); ctx.fillText = old; return seen; }"""


def reach(label):
    """Left and right end of a text on its canvas."""
    left = label["x"] - {"left": 0, "center": 0.5, "right": 1}[label["align"]] * label["width"]
    return left, left + label["width"]


@pytest.mark.parametrize("fragment", [
    "horizon=1000&eta=0.05", "horizon=0.05&eta=0.01", "eta=0.0001&horizon=10", "eta=2&horizon=1000",
])  # fmt: skip
@pytest.mark.parametrize("width", [1300, 390])
def test_labels_stay_on_their_canvases_and_apart(browser, file, fragment, width):
    with opened(browser, file, f"method=sgd&n=50&{fragment}", viewport={"width": width, "height": 820}) as tab:
        labels = tab.ask(LABELS)
        assert len(labels) > 20 and tab.errors == []
        assert [label["text"] for label in labels if reach(label)[0] < -1 or reach(label)[1] > label["room"] + 1] == []
        rows = {}
        for label in (label for label in labels if label["align"] == "center"):
            rows.setdefault((label["room"], label["y"]), []).append(reach(label))
        crowded = [a for row in rows.values() for a in row for b in row if a != b and a[0] <= b[0] < a[1]]
        assert len(rows) >= 2 and crowded == []


def test_a_clock_of_few_steps_moves_within_a_second(browser, file):
    """At the pace of long runs its only step would come after fourteen seconds, or never."""
    for fragment in ("horizon=0.05&eta=0.05", "horizon=0.05&eta=2"):
        with opened(browser, file, f"method=sgd&n=50&{fragment}") as tab:
            tab.until("sdesam.finished", 5)
            assert tab.ask("sdesam.pair.k") == 1


def test_more_steps_than_the_toolkit_takes_are_not_asked_for(tab):
    """By hand as by address: the page keeps every step, and millions of them end a browser."""
    tab.ask("sdesam.play(false), sdesam.set({n: 10, horizon: 1000}), sdesam.step()")
    tab.ask("sdesam.set({eta: 0.0001})")
    assert tab.state()["horizon"] == pytest.approx(10.0)
    assert any("horizon / eta is over 100000 steps; the horizon 10 is used." in text for text in tab.banners())
    assert tab.page.locator("[data-name=horizon]").input_value() == "10"
    assert tab.ask("sdesam.pair.k") == 0  # begun anew: the curves' axis is another one


def test_without_noise_nothing_is_tested(browser, file):
    """Rounding is no standard error: a z of 1e15 said that the sides differ."""
    with opened(browser, file, "method=sam&sigma=0&start=0.2,0.05&n=20&eta=0.05") as tab:
        tab.ask("() => { sdesam.play(false); for (let k = 0; k < 20; k++) sdesam.step(); sdesam.draw(); }")
        said = tab.page.locator(".sentence").inner_text()
        assert "without noise: one path each" in said and "z =" not in said and "±" not in said
        tab.ask("() => { sdesam.set({sigma: 0.1}); sdesam.step(); sdesam.draw(); }")
        assert "z =" in tab.page.locator(".sentence").inner_text()


def test_the_phase_map_of_a_slow_clock_begins_with_what_is_quick(browser, file):
    with opened(browser, file, "method=sgd&eta=0.0001&n=10&horizon=10") as tab:
        tab.until("sdesam.phase.next > 20", 30)
        done = tab.ask("sdesam.phase.order.slice(0, sdesam.phase.next).map(([pass, place]) => place % 12)")
        assert min(done) >= 6  # steps of 2e5 wait for those of a hundred
        every = tab.ask("sdesam.phase.order.map(([pass, place]) => 1000 * pass + place)")
        assert sorted(every) == [1000 * p + k for p in range(4) for k in range(144)]


def test_the_phase_map_stays_at_the_ends_of_its_ranges(browser, file):
    """With eta = 2, its upper end, each change made another map, and none was ever filled."""
    with opened(browser, file, "method=sgd&eta=2&rho=0.3&n=10") as tab:
        tab.ask("sdesam.kept = sdesam.phase, sdesam.set({rho: 0.31}), sdesam.set({eta: 1.9}), sdesam.set({eta: 2}), 0")
        assert tab.ask("sdesam.phase === sdesam.kept")
        tab.ask("sdesam.set({eta: 0.01}), 0")
        assert not tab.ask("sdesam.phase === sdesam.kept")
