"""The page's functions, run in Node, against torch: every method x every landscape of the explorer."""

import json
import math
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics.integrators import euler_maruyama, small_noise_srk
from sdesam.engine.streams import Streams
from sdesam.engine.tracing.checks import evaluate
from sdesam.engine.tracing.named import named_step
from sdesam.explorer.critical import critical_points
from sdesam.explorer.families import FAMILIES, family_of
from sdesam.explorer.methods import METHODS
from sdesam.explorer.page import module_text
from sdesam.explorer.science import NUMBERS, Printed, Science, ascent_point, science_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact.planar import planar_modified_equation
from sdesam.theory.monzio_compagnoni2023 import at_run_time as formulas
from sdesam.theory.monzio_compagnoni2023.planar import planar_sam_sde_as_printed

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")
STEPS, ROWS = 200, 2
CHAOTIC = {
    ("product-valley", name) for name in ("dnsam", "dnsam/theory/srk", "dnsam/theory/euler")
}  # noise over |∇f| beside a valley: rounding grows a hundredfold a step
SCHEMES = {"srk": small_noise_srk, "euler": euler_maruyama}
VALUES = dict(eta=0.03, rho=0.12, sigma=0.25, h=0.01, reference_x=0.0, reference_y=0.0)

RUN = """
const {science, jobs} = JSON.parse(require('fs').readFileSync(0));
const s = eval('(' + science + ')');
console.log(JSON.stringify(jobs.map(({name, p, x, z}) => {
  const X = Float64Array.from(x), n = X.length / 2, on = new Uint8Array(n).fill(1);
  for (const row of z) s.f[name](n, p, X, row, on);
  return Array.from(X, String);
})));
"""
CALL = """
const {science, calls} = JSON.parse(require('fs').readFileSync(0));
const s = eval('(' + science + ')');
console.log(JSON.stringify(calls.map(([name, p, x]) => s.f[name](p, x).map(String))));
"""


def node(script, payload):
    done = subprocess.run(
        ["node", "-e", script], input=json.dumps(payload), capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def numbers(family, **changes):
    values = VALUES | {k: 1.1 * s.default for k, s in family.parameters.items()} | changes
    return values, [values[name] for name in (*NUMBERS, *family.parameters)]


def kernel_of(family, method, name, values):
    f = family.landscape(**{k: values[k] for k in family.parameters})
    g = ss.GaussianOracle(f, values["sigma"], dim=2)
    if "/" not in name:
        return ss.optimizer(lambda g, x, z: method.row.update(g, x, z, rho=values["rho"]), g, values["eta"])
    _, model, scheme = name.split("/")
    return SCHEMES[scheme](method.models[model](g, eta=values["eta"], rho=values["rho"]), values["h"])


def job_and_path(family, name, printed):
    """Injected noise, and where torch goes with it by the list that was compared with the eager step: 200 steps."""
    _, p = numbers(family)
    first = np.add([family.start, family.start], [[0.13, 0.21], [-0.2, 0.4]])
    count = len(printed.program.inputs) - len(p) - 2
    noise = np.random.default_rng(8).standard_normal((STEPS, count, ROWS)) / 2
    fixed = [torch.full((ROWS,), v, dtype=torch.float64) for v in p]
    path = [list(torch.from_numpy(first.T.copy()))]
    for z in torch.from_numpy(noise):
        path.append(evaluate(printed.program, [*fixed, *path[-1], *z]))
    if (family.name, name) in CHAOTIC:  # every step from torch's own point, as a particle of its own
        points = torch.stack([torch.stack(x) for x in path]).numpy()
        x, expected = (part.transpose(1, 0, 2).ravel() for part in (points[:-1], points[1:]))
        return {"name": name, "p": p, "x": x.tolist(), "z": [noise.transpose(1, 0, 2).ravel().tolist()]}, expected
    job = {"name": name, "p": p, "x": first.T.ravel().tolist(), "z": noise.reshape(STEPS, -1).tolist()}
    return job, torch.cat(path[-1]).numpy()


def agree(science, jobs, paths):
    found = node(RUN, {"science": science.javascript(), "jobs": jobs})
    worst = {}
    for job, row, path in zip(jobs, found, paths, strict=True):
        assert np.isfinite(path).all()
        worst[job["name"]] = float((np.abs(np.array(row, float) - path) / np.maximum(1, np.abs(path))).max())
    assert max(worst.values()) <= 1e-10, worst
    print(f"largest difference {max(worst.values()):.1e}")


FULL = ("saddle",)  # with every SDE in the fast suite; the other landscapes' SDEs are slow


@pytest.fixture(scope="module", params=[n if n in FULL else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def science(request):
    return science_of(FAMILIES[request.param], list(METHODS.values()))


SOME = ("usam/theory/srk", "sam/theory/euler", "dnsam/theory/srk", "sgd/theory/euler", "sam/theory/srk")


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in FULL])
def test_every_algorithm_on_every_landscape(name):
    """And one of the SDEs on each; all of them are in the slow tests, those on the saddle in the fast one too."""
    family = FAMILIES[name]
    scalars = NUMBERS | family.defaults()
    start = torch.tensor(family.start, dtype=torch.float64) + 0.1
    chosen = (*METHODS, SOME[list(FAMILIES).index(name) % len(SOME)])
    factories = {n: lambda n=n, **v: kernel_of(family, METHODS[n.partition("/")[0]], n, v) for n in chosen}
    lists = {n: Printed(named_step(f, scalars, start), "loop") for n, f in factories.items()}
    science = Science(name, tuple(scalars), lists, {}, {}, {})
    jobs, paths = zip(*(job_and_path(family, n, p) for n, p in lists.items()), strict=True)
    agree(science, jobs, paths)


def test_two_hundred_steps_with_injected_noise(science):
    family = FAMILIES[science.landscape]
    loops = {n: p for n, p in science.lists.items() if p.form == "loop"}
    jobs, paths = zip(*(job_and_path(family, n, p) for n, p in loops.items()), strict=True)
    agree(science, jobs, paths)


def test_two_hundred_eager_steps():
    """The kernel itself, not its list, for one scheme: SAM's SDE with its own step."""
    family, method, name = FAMILIES["saddle"], METHODS["sam"], "sam/theory/euler"
    values, _ = numbers(family)
    kernel = kernel_of(family, method, name, values)
    program = named_step(
        lambda **v: kernel_of(family, method, name, v), NUMBERS | family.defaults(), torch.ones(2).double()
    )
    job, path = job_and_path(family, name, Printed(program, "loop"))
    x = torch.tensor(job["x"], dtype=torch.float64).reshape(2, ROWS).T
    for z in job["z"]:
        x = kernel.step(x, torch.tensor(z, dtype=torch.float64).reshape(-1, ROWS).T)
    np.testing.assert_allclose(x.T.reshape(-1).numpy(), path, rtol=1e-10, atol=1e-10)


def test_functions_of_a_point_are_torchs(science):
    family = FAMILIES[science.landscape]
    values, p = numbers(family)
    f = family.landscape(**{k: values[k] for k in family.parameters})
    x = torch.tensor([0.4, -0.7], dtype=torch.float64)
    g = ss.GaussianOracle(f, values["sigma"], dim=2)
    z = torch.tensor([0.3, -0.8], dtype=torch.float64)
    expected = {
        "value": [float(f(x))],
        "gradient": ss.grad(f)(x).tolist(),
        "curvature": torch.linalg.eigvalsh(ss.hessian(f)(x)).tolist(),
    }
    for name, method in METHODS.items():
        expected[f"{name}/ascent"] = ascent_point(method.row.update, g, x, z, values["rho"]).tolist()
    calls = [(n, p, x.tolist() + (z.tolist() if "/" in n else [])) for n in expected]
    found = node(CALL, {"science": science.javascript(), "calls": calls})
    for row, wanted in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(np.array(row, float)[: len(wanted)], wanted, rtol=1e-10, atol=1e-12)


def test_a_swapped_operand_is_caught():
    """A planted fault in the printer: one subtraction the other way round."""
    family, method = FAMILIES["saddle"], METHODS["usam"]
    science = science_of(family, [METHODS["sgd"], method])
    good = science.lists["usam"]
    job, path = job_and_path(family, "usam", good)
    nodes = list(good.program.nodes)
    place = next(i for i, (op, _) in enumerate(nodes) if op == "sub")
    nodes[place] = ("sub", nodes[place][1][::-1])
    faulty = replace(
        science, lists={**science.lists, "usam": Printed(replace(good.program, nodes=tuple(nodes)), "loop")}
    )
    right, wrong = (
        np.array(node(RUN, {"science": s.javascript(), "jobs": [job]})[0], float) for s in (science, faulty)
    )
    assert np.abs(right - path).max() <= 1e-10 < 1e-3 < np.abs(wrong - path).max()


def test_the_pages_noise_is_the_toolkits():
    """Streams, Box-Muller and order of the draws: the very numbers of replicates 0..3, to rounding."""
    script = (
        module_text()
        + """
    const s = new Streams(7, 4), z = new Float64Array(12), on = new Uint8Array(4).fill(1), out = [];
    for (let k = 0; k < 50; k++) { s.normals(3, z, on); out.push(Array.from(z)); }
    console.log(JSON.stringify(out));"""
    )
    found = np.array(
        json.loads(subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout)
    )
    streams = Streams(seed=7, first=0, count=4)
    expected = [ss.Normal(3).draw(streams.bits, torch.float64).T.reshape(-1).numpy() for _ in range(50)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------- theory that follows sliders
def scalar(v):
    return torch.tensor(v, dtype=torch.float64)


def exit_time(coefficients, A, cells=200, **values):
    U = T = scalar(0.0)
    h = scalar(A / cells)
    for k in range(cells):
        b, a = coefficients((k + 0.5) * h, **values)
        U, T = formulas.exit_step(b, a, h, U, T)
    return float(T)


@pytest.mark.parametrize(("eta", "rho", "sigma"), [(0.01, 0.1, 0.25), (0.01, 0.4, 0.25), (0.1, 0.3, 1.0)])
def test_the_exit_time_in_cells_is_the_integral(eta, rho, sigma):
    numbers = dict(eta=eta, rho=rho, sigma=sigma)
    usam, sam = (
        mc23.usam_axis_exit_time(1.0, A=0.5, **numbers),
        mc23.sam_axis_exit_time(1.0, A=0.5, d=2, **numbers),
    )
    assert exit_time(formulas.usam_axis_coefficients, 0.5, mu=1.0, **numbers) == pytest.approx(usam, rel=2e-4)
    assert exit_time(formulas.sam_axis_coefficients, 0.5, mu=1.0, **numbers) == pytest.approx(sam, rel=2e-4)


def test_levels_and_moments_are_the_closed_forms():
    lam, numbers = np.array([0.7, 2.0]), dict(eta=0.05, rho=0.3)
    at = torch.from_numpy(lam)
    exact = mc23.usam_stationary_loss(lam, np.full(2, 0.16), discrete=True, **numbers)
    assert float(formulas.usam_stationary_level(at, sigma=0.4, **numbers)) == pytest.approx(exact, rel=1e-12)
    assert float(formulas.sam_stationary_level(at, sigma=0.4, **numbers)) == pytest.approx(
        mc23.sam_stationary_loss(lam, sigma=0.4, **numbers), rel=1e-12
    )
    square = scalar(0.0)
    for _ in range(4000):
        square = formulas.usam_second_moment(square, scalar(2.0), sigma=0.4, **numbers)
    one = mc23.usam_stationary_loss(lam[1:], np.array([0.16]), discrete=True, **numbers)
    assert float(square) == pytest.approx(one, rel=1e-9)  # lam/2 E y² with lam = 2


def test_the_capture_boundary_has_the_capture_radius():
    direction, rho = torch.tensor([0.6, 0.8], dtype=torch.float64), 0.3
    H = torch.tensor([[1.0, 0.2], [0.2, -1.5]], dtype=torch.float64)
    mu = -float(torch.linalg.eigvalsh(H)[0])
    point = formulas.capture_boundary(direction, H @ direction, mu, rho)
    assert float(ss.norm(H @ point)) == pytest.approx(mc23.dnsam_capture_radius(mu, rho=rho), rel=1e-12)


def test_planar_roots_are_the_general_ones():
    g = ss.GaussianOracle(ss.TanhNetwork(), 0.2)
    x, dw = torch.randn(2, 40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    numbers = dict(eta=0.1, rho=0.5)
    expected = mc23.sam_sde_as_printed(g, clip=True, **numbers).coefficients(x)[1](dw)
    found = planar_sam_sde_as_printed(g, **numbers).coefficients(x)[1](dw)
    assert float((found - expected).abs().max()) < 1e-12
    rule = g.noise.nodes(4)
    eye = torch.eye(2, dtype=torch.float64)
    update = lambda g, x, z: ss.usam(g, x, z, rho=0.3)  # noqa: E731
    general = ss.modified_equation(update, g, 0.1, nodes=rule).coefficients
    planar = planar_modified_equation(update, g, 0.1, rule).coefficients
    for point in x[:5]:
        factor = general(point)[1](torch.eye(16, dtype=torch.float64))
        root = planar(point)[1](eye)
        assert float((root.T @ root - factor.T @ factor).abs().max()) < 1e-14
        assert float((planar(point)[0] - general(point)[0]).abs().max()) < 1e-12


# ----------------------------------------------------------------- families are the catalogue's landscapes
def log_cosh(s):
    return s.cosh().log()


def saddle(x, y, curvature):
    return (x**2 - curvature * y**2) / 2


WRITTEN = {  # by hand, beside the library's classes
    "saddle": saddle,
    "rotated-saddle": lambda x, y, curvature, angle: saddle(
        math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x, curvature
    ),
    "embedded-saddle": lambda x, y, curvature, quartic: saddle(x, y, curvature) + quartic * (x**4 + y**4),
    "double-well": lambda x, y, barrier: barrier * ((x**2 - 1) ** 2 + (y**2 - 1) ** 2) / 4,
    "quadratic": lambda x, y, flat, sharp: (flat * x**2 + sharp * y**2) / 2,
    "log-cosh": lambda x, y, curvature: curvature * (log_cosh(x) + log_cosh(y)),
    "product-valley": lambda x, y, bottom: log_cosh(x * y - bottom),
    "tanh-network": lambda x, y: torch.tanh(y * torch.tanh(x)) ** 2 / 2,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_the_catalogues_landscape(name):
    family = FAMILIES[name]
    values = {k: 1.3 * s.default + 0.1 for k, s in family.parameters.items()}
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = WRITTEN[name](*x.unbind(-1), **values)
    code = eval(family.code.format(**values), {"ss": ss})
    for f in (family.landscape(**values), code):
        assert float((f(x) - expected).abs().max()) <= 1e-12 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_critical_points_are_the_known_ones(name):
    family = FAMILIES[name]
    landscape = family.landscape(**family.defaults())
    landscape = (
        landscape
        if hasattr(landscape, "saddles")
        else {"double-well": ss.DoubleWell(2), "log-cosh": ss.LogCosh(2)}[name]
    )
    found = critical_points(family, family.defaults())
    for kinds, known in ((("saddle",), landscape.saddles), (("minimum", "valley"), landscape.minimizers[:1])):
        for point in known:
            near = [
                q
                for q in found
                if q.kind in kinds and float(ss.norm(q.x - point)) < (0.6 if "valley" in q.kind else 1e-6)
            ]
            assert near, (kinds, point)


def test_a_users_landscape_gets_sliders_and_refusals():
    def hills(x, *, height=0.5, shift=0.0):
        return height * (torch.cos(x[..., 0]) + (x[..., 1] - shift) ** 2)

    family = family_of(hills, "hills")
    assert {k: s.default for k, s in family.parameters.items()} == {"height": 0.5, "shift": 0.0}
    assert science_of(family, [METHODS["sgd"]]).numbers[-2:] == ("height", "shift")
    with pytest.raises(ValueError, match="must have a number as default"):
        family_of(lambda x, *, size=None: x.sum(-1), "f")
    with pytest.raises(ValueError, match=r"must map \(\.\.\., d\)"):
        family_of(lambda x: x, "f")
