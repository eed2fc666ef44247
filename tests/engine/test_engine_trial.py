"""Code is tried before it is used: rounding is bounded, and what is no rounding is refused."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine import choice
from sdesam.engine.llvm import compilation, native
from sdesam.engine.llvm.printer import module_of
from sdesam.engine.llvm.trial import Numbers, require_agreement
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.rounding import Rounded, evaluate_rounded
from sdesam.engine.tracing.trace import NotTraceable, trace
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
X = torch.tensor([1.0, 0.5], dtype=T)
F = ss.TanhNetwork()
TANH = ss.GaussianOracle(F, 0.3)
SAM = ss.optimizer(partial(ss.sam, rho=0.1), TANH, 0.05)
HALF = ss.small_noise_srk(mc23.sam_sde(TANH, eta=0.05, rho=0.1), 0.025)
WATCH = {"f": F}


# ----------------------------------------------------------------- the bound
def expressions(x):
    a, b, c = x.unbind(-1)
    late = (a + 1e3 * b) - 1e3 * b  # cancels: its bound must not be that of a
    return [
        late, a * b - b * c, a / (b * b + 1) - c, torch.exp(a) - torch.expm1(a), torch.log(b * b + 1),
        torch.log1p(a * a), torch.sqrt(a * a + b * b), torch.tanh(a * b) * torch.sin(c),
        torch.cos(1e3 * a), torch.where(a > b, a, c), torch.maximum(a, b).abs(), -(a - b) ** 3,
    ]  # fmt: skip


def test_the_bound_holds_and_is_not_wide():
    """Evaluation in float32 against the same in float64: within the bound of float32, and often a tenth of it."""
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    program = trace(lambda x: expressions(x), [torch.ones(1, 3, dtype=T)], "expressions")
    inputs = [Rounded.of(column.numpy()) for column in x.T.contiguous()]
    bounded = evaluate_rounded(program, inputs, np.dtype(np.float32))
    for i, (r, narrow, wide) in enumerate(zip(bounded, expressions(x.float()), expressions(x), strict=True)):
        error = np.abs(narrow.double().numpy() - wide.numpy())
        assert (error <= r.e).all(), i
        assert r.e.max() < 1e-2, i
    assert np.median(bounded[0].e) > 1e-4  # of the cancelled sum


def test_a_comparison_that_rounding_decides_is_not_judged():
    x = trace(lambda x: [torch.where(x * 3.3 > 3.3, x, -x)], [torch.ones(1, dtype=T)], "tie")
    (r,) = evaluate_rounded(x, [Rounded.of(np.array([1.0, 1.5]))], np.dtype(np.float64))
    assert np.isinf(r.e[0])
    assert r.e[1] == 0


# ----------------------------------------------------------------- planted miscompilations
def mutated(text, which):
    """One instruction on vectors of floats made another."""
    places = [m for m in re.finditer(r"\b(fadd|fsub|fmul|fdiv)\b(?=[^\n]*<\d+ x double>)", text)]
    m = places[which % len(places)]
    return text[: m.start()] + {"fadd": "fsub", "fsub": "fadd", "fmul": "fdiv", "fdiv": "fmul"}[m[0]] + text[m.end() :]


PLANTED = {"sam": (SAM, WATCH), "pair": (ss.coupled(SAM, ss.subcycle(HALF, 2)), {"d": ss.difference(F)})}


@pytest.mark.parametrize("name", PLANTED)
def test_a_changed_instruction_is_found(name, tmp_path):
    kernel, watched = PLANTED[name]
    model = listing_of(kernel, X, watched, {})
    text, slots = module_of(model, 64)
    numbers = compilation.Fused.of(model, T).numbers
    whole = native.compiled(("whole",), lambda: (text, slots), tmp_path)
    require_agreement(model, whole, numbers)
    missed = []
    for which in range(6, 62, 11):  # the 12th turns an angle by 4π: it changes nothing
        code = native.compiled((name, which), lambda w=which: (mutated(text, w), slots), tmp_path)
        try:
            require_agreement(model, code, numbers)
            missed.append(which)
        except NotTraceable as error:
            assert "it was miscompiled" in str(error)  # noqa: PT017
    assert not missed


@pytest.mark.parametrize(("dtype", "relative"), [(T, 1e-12), (torch.float32, 1e-2)])
def test_a_constant_that_is_off_is_found(dtype, relative):
    model = listing_of(SAM, X.to(dtype), WATCH, {})
    found = compilation.Fused.of(model, dtype)
    for i in range(len(model.members[0].step.constants)):
        constants = found.numbers.constants.copy()
        constants[i] *= 1 + relative
        with pytest.raises(NotTraceable, match="miscompiled"):
            require_agreement(model, found.code, Numbers(**{**vars(found.numbers), "constants": constants}))


def test_miscompiled_code_is_not_used_and_the_reason_is_kept(tmp_path, monkeypatch):
    def wrong(model, bits, **words):
        text, slots = module_of(model, bits, **words)
        return mutated(text, 40), slots

    monkeypatch.setattr(compilation, "_KEPT", {})
    monkeypatch.setenv("SDESAM_CACHE", str(tmp_path))
    monkeypatch.setattr(compilation, "module_of", wrong)
    monkeypatch.setattr(choice, "COMPILING", 0.0)
    run = partial(ss.simulate, SAM, X, steps=3, n=100, observables=WATCH)
    for _ in range(2):  # the second time from the file
        m = run()
        assert m.engine == "eager"
        assert "it was miscompiled" in m.engine_note
    with pytest.raises(ValueError, match=r"engine='fused' cannot run this: .* it was miscompiled"):
        run(engine="fused")


def test_code_is_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(compilation, "_KEPT", {})
    monkeypatch.setattr(compilation, "require_agreement", lambda *a: tried.append(1))
    for eta in (0.05, 0.06):
        compilation.Fused.of(listing_of(replace(SAM, eta=eta), X, WATCH, {}), T)
    assert len(tried) == 1
