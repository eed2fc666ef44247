"""What leaves the page gives what is seen: copied Python and commands, strange names, the notebook's widget."""
# ruff: noqa: E501, F401, F811

import json
import shlex

import numpy as np
import pytest
from browser import Tab, browser, file, library

from sdesam.cli.app import main
from sdesam.explorer.library import library_of
from sdesam.explorer.page import config_of, page_html
from sdesam.explorer.state import State

pytestmark = pytest.mark.browser


# ----------------------------------------------------------------- what is copied gives what is seen
MINE = """
import torch
def loss(x, *, depth=1.0):
    return depth * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2
def half(g, x, z, *, rho):
    return g(x + rho / 2 * g(x, z), z)
"""


@pytest.fixture(scope="module")
def own_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("it's mine")
    (folder / "mine.py").write_text(MINE)
    library, family, method = library_of(f"{folder}/mine.py:loss", f"{folder}/mine.py:half")
    state = library.checked(State(landscape=family, method=method, start=(0.5, 0.5), box=(-2.0, 2.0, -2.0, 2.0)))
    config = config_of(state, library.families, library.methods)
    (folder / "page.html").write_text(page_html(config, [library.everything(family)]), encoding="utf-8")
    return folder / "page.html"


@pytest.mark.parametrize(("own", "sides", "changes"), [
    (False, 2, {"method": "usam", "spread": 0}), (False, 2, {"method": "sam", "integrator": "euler"}),
    (False, 2, {"method": "sam", "sigma": 0}), (False, 2, {"method": "dnsam", "quantity": "sharpness", "start": [0.2, 0.1]}),
    (False, 2, {"method": "sam", "model": "as-printed"}), (False, 2, {"method": "usam", "model": "sgd"}),
    (False, 2, {"method": "sgd", "absorb": False}), (False, 1, {"method": "unified-sam"}),
    (True, 1, {"parameters": {"depth": 2.5}}),
    (False, 2, {"method": "sgd", "switch_at": 0.2, "switch_to": "usam", "start": [0.2, 0.1], "rho": 0.5}),
    (False, 2, {"method": "usam", "model": "sgd", "switch_at": 0.15, "switch_to": "dnsam", "start": [0.2, 0.1]}),
])  # fmt: skip
def test_copied_python_gives_the_pages_numbers(browser, file, own_page, own, sides, changes):
    with Tab(browser, f"file://{own_page if own else file}") as tab:
        tab.ask(
            "c => { sdesam.play(false); sdesam.set({n: 16, horizon: 0.4, eta: 0.05, substeps: 2, seed: 3, ...c}); }",
            changes,
        )
        tab.ask("sdesam.panel.copy = (text) => { globalThis.copied = text; }")
        tab.ask("() => { while (!sdesam.finished) sdesam.step(); sdesam.panel.exports()[4][1](); }")
        runs, text = [], tab.ask("copied")
        exec(compile(text.replace("    print(", "    runs.append(run); print("), "copied.py", "exec"), {"runs": runs})
        for side, run in list(zip(("algorithm", "SDE"), runs, strict=True))[:sides]:
            page = tab.ask(
                f"[sdesam.pair.series['{side}'].loss.at(-1).mean, sdesam.pair.series['{side}'].inside.at(-1)]"
            )
            kit = [float(run.estimate(name).value[-1]) for name in ("f", "inside")]
            np.testing.assert_allclose(page, kit, rtol=1e-6, atol=1e-12)  # SAM's SDE has 8 digits on the page


def test_copied_command_names_the_users_file(browser, own_page, tmp_path, monkeypatch):
    with Tab(browser, f"file://{own_page}") as tab:
        tab.ask("sdesam.set({n: 16, horizon: 0.2, eta: 0.05, substeps: 1, parameters: {depth: 2.5}})")
        tab.ask("sdesam.panel.copy = (text) => { globalThis.copied = text; }")
        tab.ask("sdesam.panel.exports()[5][1]()")
        words = shlex.split(tab.ask("copied"))
    assert words[:2] == ["sdesam", "render"] and f"{own_page.parent}/mine.py:loss" in words
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(words[1:])
    assert left.value.code in (0, None) and (tmp_path / "explorer.pdf").stat().st_size > 1000


@pytest.mark.parametrize("name", ["</script><script>globalThis.bad = 1</script>", "a'\"`${1}", "saddle", "__proto__"])
def test_strange_names_stay_names(browser, name, tmp_path):
    def loss(x):
        """</script><img src=x onerror=alert(1)>."""
        return (x * x).sum(-1)

    loss.__name__ = loss.__qualname__ = name
    library, family, _ = library_of(loss)
    state = library.checked(State(landscape=family))
    page = tmp_path / "page.html"
    page.write_text(page_html(config_of(state, library.families, library.methods), [library.everything(family)], name))
    with Tab(browser, f"file://{page}") as tab:
        assert tab.ask("globalThis.bad") is None and tab.page.locator("img").count() == 0
        assert tab.state()["landscape"] == family and tab.errors == []
        tab.until("sdesam.pair.k > 1")


# ----------------------------------------------------------------- the notebook's widget, with a model of its own
HOST = """<!doctype html><body><div id="root"></div><script type="module">
import widget from "./widget.js";
const values = { config: CONFIG, fragment: "FRAGMENT" }, heard = {};
globalThis.sent = [], globalThis.saved = 0;
globalThis.model = { get: (k) => values[k], set: (k, v) => { values[k] = v; heard["change:" + k]?.(); },
  save_changes: () => saved++, on: (what, act) => (heard[what] = act), send: (m) => sent.push(m), tell: (m) => heard["msg:custom"](m) };
globalThis.leave = widget.render({ model, el: document.getElementById("root") });
</script>"""


def test_the_widgets_page_and_its_model(browser):
    pytest.importorskip("anywidget")
    from sdesam.explorer import Explorer

    screen = Explorer(landscape="saddle", state="eta=0.02&n=100&horizon=100")
    html = HOST.replace("CONFIG", json.dumps(screen.config)).replace("FRAGMENT", screen.fragment)
    context = browser.new_context()
    page = context.new_page()
    page.route("http://notebook.invalid/", lambda r: r.fulfill(body=html, content_type="text/html"))
    page.route(
        "http://notebook.invalid/widget.js", lambda r: r.fulfill(body=screen._esm, content_type="text/javascript")
    )
    page.goto("http://notebook.invalid/")
    title = page.locator(".title.algorithm")
    page.wait_for_function("document.querySelector('.title.algorithm')?.textContent.match(/k = [3-9]/)")
    page.get_by_role("button", name="Pause").click()
    page.locator("[data-name=eta]").fill("0.123456789012345")
    page.wait_for_function("saved > 0 && model.get('fragment').includes('eta=0.123456789012')")
    page.wait_for_timeout(300)
    assert "k = 0" not in title.inner_text()  # what it saved itself does not start it anew
    screen.fragment = page.evaluate("model.get('fragment')")
    assert screen.state.eta == pytest.approx(0.123456789012, abs=1e-15)
    page.evaluate("text => model.set('fragment', text)", screen.fragment + "&rho=0.33")
    page.wait_for_function(
        "document.querySelector('[data-name=rho]').value === '0.33' && !/k = [1-9]/.test(document.querySelector('.title.algorithm').textContent)"
    )
    page.get_by_role("button", name="Check with the toolkit").click()
    assert page.evaluate("sent[0].check.rho") == 0.33
    page.evaluate("model.tell({error: 'no such thing'})")
    page.wait_for_selector(".banner.warning")
    assert "no such thing" in page.locator(".banner.warning").inner_text()
    page.evaluate("leave()")
    context.close()
