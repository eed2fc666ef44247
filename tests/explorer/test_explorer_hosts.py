"""Stories are true, states survive the ways out of the page, and the notebook's widget answers."""

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdesam.cli.app import main
from sdesam.explorer.check import curves
from sdesam.explorer.families import FAMILIES
from sdesam.explorer.library import library_of
from sdesam.explorer.page import config_of, entry_text, module_text, style_text
from sdesam.explorer.presets import PRESETS
from sdesam.explorer.state import State, read_state

STORIES = {p.name: p.state for p in PRESETS}
N = 1024


@pytest.fixture(scope="module")
def library():
    return library_of()[0]


@pytest.fixture
def last(library):
    """Value and half a 95 % interval at the horizon, of a side and what is watched."""

    def ask(state, side, what):
        found = curves(library, library.checked(state), N).values(side, what)
        return float(found["value"][-1]), float(found["high"][-1] - found["value"][-1])

    return ask


# ----------------------------------------------------------------- what the stories say
def test_sam_is_trapped_where_sgd_escapes(last):
    state = STORIES["sam-trapped"]
    assert last(state, "algorithm", "inside")[0] == 1.0 and last(state, "SDE", "inside")[0] == 1.0
    assert last(replace(state, method="sgd"), "algorithm", "inside")[0] < 0.02


@pytest.mark.slow
def test_more_noise_frees_sam_but_not_usam(last):
    state = STORIES["noise-frees-sam"]
    assert last(state, "algorithm", "inside")[0] < 0.1
    assert last(replace(state, sigma=0.1), "algorithm", "inside")[0] > 0.99
    for sigma in (0.1, 1.0):
        assert last(replace(state, method="usam", sigma=sigma), "algorithm", "inside")[0] > 0.97


@pytest.mark.slow
def test_dnsam_hovers(last):
    state = STORIES["dnsam-hovers"]
    assert 0.4 < last(state, "algorithm", "inside")[0] < 0.75
    assert last(replace(state, method="sgd"), "algorithm", "inside")[0] < 0.05


@pytest.mark.slow
def test_sam_drifts_along_the_valley(last):
    state = STORIES["valley-drift"]
    assert last(state, "algorithm", "quantity")[0] < 0.9
    assert 1.6 < last(state, "SDE", "quantity")[0] < 1.75
    assert last(replace(state, method="sgd"), "algorithm", "quantity")[0] > 1.75


@pytest.mark.slow
def test_the_sharpness_falls_after_the_switch(last):
    state = replace(STORIES["switch-to-sam"], switch_at=0.0, switch_to="")
    before = last(replace(state, horizon=20.0), "algorithm", "quantity")[0]
    after = last(replace(state, method="sam", horizon=40.0), "algorithm", "quantity")[0]
    assert before == pytest.approx(np.tanh(1.0) ** 2, abs=0.03) and after < 0.25


@pytest.mark.slow
def test_the_printed_covariance_stays_and_the_full_one_leaves(last):
    state = STORIES["printed-covariance"]
    assert last(state, "SDE", "inside")[0] > 0.98
    (a, half), (b, other) = (last(replace(state, model="theory"), side, "inside") for side in ("algorithm", "SDE"))
    assert a < 0.3 and abs(a - b) <= 4 / 1.96 * np.hypot(half, other)


def test_stories_know_their_landscapes(library):
    for preset in PRESETS:
        assert library.checked(preset.state) == preset.state, preset.name
        assert preset.sentence.endswith(".") and len(preset.sentence) < 260


# ----------------------------------------------------------------- states
@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_a_state_survives_address_and_file(preset, tmp_path):
    state = preset.state
    assert State.from_fragment(f"http://127.0.0.1:1/t/#{state.fragment()}") == state
    file = tmp_path / "state.json"
    file.write_text(json.dumps({"schema": 1, "state": state.document()}))
    assert read_state(str(file)) == state


@pytest.mark.parametrize(("text", "words"), [
    ("eta=fast", "eta must be a finite number"), ("eta=7", "from 0.0001 to 2"), ("n=1.5", "whole number"),
    ("colour=red", "unknown entry"), ("start=1", "2 numbers"), ("box=1,0,0,1", "left < right"),
    ("shared=yes", "0 or 1"),
    ("model=mine", "one of theory"), ("eta=0.0001&horizon=1000", "steps"), ("start=1,99", "within"),
])  # fmt: skip
def test_a_bad_state_is_one_sentence(text, words):
    with pytest.raises(ValueError, match=words):
        State.from_fragment(text)


# ----------------------------------------------------------------- hosts
def test_the_module_is_one_piece_without_imports_or_clashes(tmp_path):
    import shutil

    text = module_text()
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text) and "http" not in style_text()
    if shutil.which("node") is None:
        pytest.skip("no Node.js")
    (tmp_path / "m.mjs").write_text(text)
    subprocess.run(["node", "--check", tmp_path / "m.mjs"], check=True, capture_output=True)


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code in (0, None)


@pytest.mark.slow
def test_export_of_a_users_landscape_and_update(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "def loss(x, *, depth=1.0):\n    return depth * (x[..., 0]**2 - 1)**2 + x[..., 1]**2\n"
        "def half(g, x, z, *, rho):\n    return g(x + rho / 2 * g(x, z), z)\n"
    )
    page = tmp_path / "page.html"
    command("explore", "--landscape", f"{mine}:loss", "--method", f"{mine}:half", "--export", str(page))
    text = page.read_text()
    assert len(text) < 100_000 and "default-src 'none'" in text and "://" not in text


def test_render_writes_a_figure(tmp_path):
    figure = tmp_path / "fig.pdf"
    state = "landscape=quadratic&method=usam&eta=0.1&horizon=1&start=1,1"
    command("render", state, "-o", str(figure), "--n", "200")
    assert figure.read_bytes()[:5] == b"%PDF-"


def test_the_widgets_state_goes_both_ways():
    pytest.importorskip("anywidget")
    from sdesam.explorer import Explorer

    def bowl(x):
        return (x * x).sum(-1)

    screen = Explorer(landscape=bowl, state=State(method="sgd", sigma=0.3))
    assert screen.state.landscape == "bowl" and "notebookScience" in screen._esm
    screen.state = replace(screen.state, eta=0.2)
    assert "eta=0.2" in screen.fragment
    screen.fragment = screen.fragment.replace("eta=0.2", "eta=0.3")
    assert screen.state.eta == 0.3
    heard = []
    screen.send = heard.append
    screen._asked(None, {"check": {"eta": "fast"}}, None)
    assert "must be a finite number" in heard[0]["error"]
    with pytest.raises(ValueError, match="is not in the explorer"):
        Explorer(landscape="nowhere")


def test_help_lists_the_commands_without_torch():
    code = "import sys, sdesam.cli.explore, sdesam.explorer; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(FAMILIES) >= {p.state.landscape for p in PRESETS}


# ----------------------------------------------------------------- the committed stories
FOLDER = Path(__file__).parents[2] / "figures" / "explorer"


def parts_of(text):
    """Style and module of an exported page."""
    packed = re.search(r'atob\("([^"]+)"\)', text)
    assert packed, "no packed module"
    return gzip.decompress(base64.b64decode(packed[1])).decode().split("\f")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_the_committed_stories_are_what_export_writes(library, preset):
    """All but the traced functions: sources, style and state of the page."""
    text = (FOLDER / f"{preset.name}.html").read_text(encoding="utf-8")
    state = library.checked(preset.state)
    current = entry_text(config_of(state, library.families, library.methods), [], server=False)
    until = current.index("config.sciences = [")
    style, module = parts_of(text)
    assert module[:until] == current[:until], "stale: run sdesam explore --export figures/explorer"
    assert style == style_text() and len(text) < 100_000


def science_of_page(module):
    """The text between the constants, and the constants where they are used: the pool's order is not compared."""
    text = module[module.index("config.sciences = [") :]
    pool = [float(value) for value in re.search(r"const c=\[([^\]]*)\];", text)[1].split(",")]
    body = text[text.index("return {") : text.rindex("})()") + 4]
    pieces = re.split(r"\bc\[(\d+)\]", body)
    return pieces[::2], np.array([pool[int(i)] for i in pieces[1::2]])


def compute_alike(one, other):
    """The same functions, with constants to 1e-12: tables are the same bits everywhere, a libm's cos is not."""
    (text, values), (other_text, other_values) = science_of_page(one), science_of_page(other)
    return text == other_text and np.allclose(values, other_values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("landscape", ["saddle"] + [pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def test_the_committed_stories_compute_with_these_kernels(library, landscape):
    current = f"config.sciences = [{library.everything(landscape).javascript()}]"
    for preset in (p for p in PRESETS if p.state.landscape == landscape):
        _, held = parts_of((FOLDER / f"{preset.name}.html").read_text(encoding="utf-8"))
        assert compute_alike(held, current), "stale: run sdesam explore --export figures/explorer"


def test_stories_are_compared_by_structure_and_value(library):
    """Last bits and the order of the pool pass; another value, another operation and another use do not."""
    text = "config.sciences = [(()=>{const c=[0.1,0.25,3.0];\nreturn {f:(x)=>c[0]*x+c[2]-c[1]}})()]"
    for same in (("0.1,", "0.10000000000000002,"), ("[0.1,0.25,3.0]", "[0.25,0.1,3.0]")):
        other = text.replace(*same)
        if "[0.25" in other:
            other = other.replace("c[0]*x", "c[1]*x").replace("-c[1]", "-c[0]")
        assert compute_alike(text, other)
    for fault in (("0.25", "0.2500001"), ("c[0]*x", "c[0]+x"), ("c[0]*x", "c[2]*x"), ("-c[1]", "-c[1]-c[1]")):
        assert not compute_alike(text, text.replace(*fault))
    printed = f"config.sciences = [{library.science('saddle', 'sgd').javascript()}]"
    assert compute_alike(printed, printed) and len(science_of_page(printed)[1]) > 5


def test_a_notebooks_first_screen_is_the_commands(tmp_path):
    pytest.importorskip("anywidget")
    from sdesam.explorer import Explorer
    from sdesam.explorer.library import first_state

    def bowl(x, *, depth=2.0):
        return depth * (x * x).sum(-1)

    found, family, method = library_of(bowl)
    assert Explorer(landscape=bowl).state == first_state(found, family, method, None)
    assert Explorer(landscape=bowl).state.start == (0.5, 0.5)


def test_whatever_a_check_raises_reaches_the_notebook(monkeypatch):
    pytest.importorskip("anywidget")
    from sdesam.explorer import Explorer

    screen, heard = Explorer(landscape="saddle"), []
    screen.send = heard.append
    monkeypatch.setattr("sdesam.explorer.widget.check", lambda *_: 1 // 0)
    screen._asked(None, {"check": {}}, None)
    assert heard == [{"error": "integer division or modulo by zero"}]


def test_render_counts_what_it_ran(library, tmp_path, monkeypatch):
    """A long run takes fewer replicates than were asked for, and the figure says how many."""
    from sdesam.explorer import check, figure

    seen = []
    monkeypatch.setattr(check, "_MOST_WORK", 20_000)
    monkeypatch.setattr(figure, "_legend", lambda ax, state, n: seen.append(n))
    state = library.checked(
        State(landscape="quadratic", method="sgd", eta=0.1, horizon=1.0, substeps=1, start=(1.0, 1.0))
    )
    figure.render_state(library, state, tmp_path / "x.pdf", n=5000)
    assert seen == [2000]
