"""What was traced serves every number of its structure: no trace for a new eta, and never an old answer."""

import collections
import functools
import gc
import os
import sys
import types
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.parameters import Parameters
from sdesam.engine.tracing import listed
from sdesam.engine.tracing.binding import bound
from sdesam.engine.tracing.checks import require_alike
from sdesam.engine.tracing.listed import TRACES
from sdesam.problems.noise import Normal
from sdesam.theory import monzio_compagnoni2023 as mc23

pytestmark = pytest.mark.untyped  # a parameter is a tensor while its list is made

X0 = [0.3, -0.2]
SCALE = 1.0
helper = types.ModuleType("helper")
helper.__file__ = __file__
helper.SCALE = 1.0


@pytest.fixture(autouse=True)
def fresh():
    TRACES.clear()


@pytest.fixture
def traced(monkeypatch):
    """Names of what is traced, a trace being two of each function."""
    found = []
    old = listed.trace

    def trace(function, examples, what, *more):
        found.append(what)
        return old(function, examples, what, *more)

    monkeypatch.setattr(listed, "trace", trace)
    return found


def run(kernel, x0=X0, observables=None, steps=3, n=40, **words):
    asked = observables or {"x": lambda x: x[..., 0], "q": lambda x: (x * x).sum(-1)}
    found = ss.simulate(kernel, x0, steps=steps, observables=asked, n=n, engine="fused", **words)
    return np.concatenate([np.asarray(found.estimate(name).value) for name in found.names])


def sam(eta=0.1, rho=0.1, sigma=0.2, f=None, update=ss.sam):
    return ss.optimizer(partial(update, rho=rho), ss.GaussianOracle(f or ss.Saddle(), sigma=sigma, dim=2), eta=eta)


def sam_sde(eta=0.1, rho=0.1, sigma=0.2, make=mc23.sam_sde):
    sde = make(ss.GaussianOracle(ss.TanhNetwork(), sigma=sigma), eta=eta, rho=rho)
    return ss.subcycle(ss.small_noise_srk(sde, eta / 4), 4)


def pair(eta=0.1, rho=0.1, sigma=0.2):
    return ss.coupled(sam(eta, rho, sigma, ss.TanhNetwork()), sam_sde(eta, rho, sigma))


KERNELS = {
    "sam": sam, "usam": partial(sam, update=ss.usam), "dnsam": partial(sam, update=ss.dnsam), "SAM's SDE": sam_sde,
    "USAM's SDE": partial(sam_sde, make=mc23.usam_sde), "DNSAM's SDE": partial(sam_sde, make=mc23.dnsam_sde),
    "quadratic": lambda **w: sam(f=ss.Quadratic([[2.0, 0.5], [0.5, 1.0]]), **w),
}  # fmt: skip
OTHERS = [{}, {"eta": 0.05}, {"rho": 0.3}, {"sigma": 0.5}, {"eta": 1.0, "rho": 2.0, "sigma": 0.5}]


# ----------------------------------------------------------------- new numbers
@pytest.mark.parametrize("name", KERNELS)
def test_new_numbers_cost_no_trace_and_give_what_a_fresh_trace_gives(name, traced):
    make = KERNELS[name]
    kept = [run(make(**words)) for words in OTHERS]
    first = len(traced)
    assert first <= 2 * 2 * (1 + ("SAM" in name))  # twice the step and what is watched, once more where one is closed
    run(make(eta=0.07), x0=[0.1, 0.4], n=3000, seed=5)
    assert len(traced) == first
    for words, before in zip(reversed(OTHERS), reversed(kept), strict=True):
        TRACES.clear()
        np.testing.assert_array_equal(run(make(**words)), before)  # bit for bit, whatever was traced first


def test_a_coupled_pair_is_traced_once(traced):
    seen = {"x": ss.difference(lambda x: x[..., 0])}
    found, counts = [], []
    for eta in (0.1, 0.05, 0.025):
        found.append(tuple(run(pair(eta=eta), observables=seen)))
        counts.append(len(traced))
    assert len(set(found)) == 3 and len(set(counts)) == 1


def test_the_eager_engine_agrees_at_every_number():
    for words in OTHERS:
        fused, eager = (
            ss.simulate(sam_sde(**words), X0, steps=3, observables={"x": lambda x: x[..., 0]}, n=40, engine=engine)
            for engine in ("fused", "eager")
        )
        np.testing.assert_allclose(fused.estimate("x").value, eager.estimate("x").value, rtol=1e-11)


def test_float32_has_lists_of_its_own(traced):
    wide, narrow = (run(sam(sigma=1e-9), x0=torch.tensor(X0, dtype=t)) for t in (torch.float64, torch.float32))
    assert len(traced) == 8
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)
    assert (narrow != wide).any()


# ----------------------------------------------------------------- values that Python asks for
def branching(g, x, z, *, rho):
    return g(x, z) if rho > 0.5 else -g(x, z)


def rooted(g, x, z, *, rho):
    return g(x, z) * float(np.sqrt(rho))


@pytest.mark.parametrize(("update", "ratio"), [(branching, (-1.0, 1.0)), (rooted, (0.25**0.5, 1.0))])
def test_a_parameter_that_is_asked_for_is_closed_and_the_others_stay_open(update, ratio, traced):
    def move(rho, eta):
        flat = ss.Quadratic([[0.0, 0.0], [0.0, 0.0]])
        return run(sam(eta=eta, rho=rho, f=lambda x: x.sum(-1) + flat(x), update=update, sigma=0.0), n=1, steps=1)[1]

    for k, rho in enumerate((0.25, 1.0)):
        assert move(rho, 0.1) == pytest.approx(X0[0] - 0.1 * ratio[k], abs=1e-12)
        count = len(traced)
        assert move(rho, 0.2) == pytest.approx(X0[0] - 0.2 * ratio[k], abs=1e-12)
        assert len(traced) == count


# ----------------------------------------------------------------- never an old answer
def slope(f, **words):
    """−(x after one step − x)/eta of gradient descent."""
    kernel = ss.optimizer(ss.sgd, ss.ExactOracle(f), eta=0.1)
    return (X0[0] - run(kernel, n=1, steps=1, **words)[1]) / 0.1


def test_a_closure_whose_number_changes_gives_the_new_answer(traced):
    def loss(c):
        return lambda x: c * x.sum(-1)

    assert [round(slope(loss(c)), 9) for c in (1.0, 3.0, -2.0, 3.0)] == [1, 3, -2, 3]
    assert len(traced) == 3 * 4  # the user's numbers count by their value
    a = 1.0

    def own(x):
        return a * x.sum(-1)

    found = [slope(own)]
    a = 4.0
    assert np.round([*found, slope(own)], 9).tolist() == [1, 4]


def by_default(c):
    return lambda x, c=c: c * x.sum(-1)


def by_global(c):
    global SCALE
    SCALE = c
    return lambda x: SCALE * x.sum(-1)


def by_module(c):
    helper.SCALE = c
    return lambda x: helper.SCALE * x.sum(-1)


def by_list(c, held=[0.0]):  # noqa: B006
    held[0] = c
    return lambda x: held[0] * x.sum(-1)


def by_dictionary(c):
    held = {"c": [c]}
    return lambda x: held["c"][0] * x.sum(-1)


def by_array(c):
    held = np.array([c, c])
    return lambda x: (torch.from_numpy(held) * x).sum(-1)


class Loss:
    scale = 1.0

    def __init__(self, c):
        self.c = c

    def __call__(self, x):
        return self.c * self.scale * x.sum(-1)


def by_class(c):
    Loss.scale = c
    return Loss(1.0)


@dataclass(frozen=True)
class Frozen:
    c: float

    def __call__(self, x):
        return self.c * x.sum(-1)


def by_method(c):
    return Loss(c).__call__


def by_partial(c):
    return partial(lambda x, c: c * x.sum(-1), c=c)


WAYS = [
    by_default,
    by_global,
    by_module,
    by_list,
    by_dictionary,
    by_array,
    by_class,
    Loss,
    Frozen,
    by_method,
    by_partial,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_however_a_number_is_held_a_new_one_gives_the_new_answer(way):
    by_class(1.0)
    found = [slope(way(c)) for c in (1.0, 3.0, 3.0, 2.0)]
    assert np.round(found, 9).tolist() == [1, 3, 3, 2]
    by_class(1.0)


def test_a_constant_far_from_the_start_is_seen():
    """Beyond every point of comparison: only the structure tells."""

    def clipped(at):
        return lambda x: x.clamp(max=at).sum(-1)

    far = [300.0, 300.0]  # compared at 100 times the start and closer
    assert [run(ss.optimizer(ss.sgd, ss.ExactOracle(clipped(c)), 0.1), far, n=1, steps=1)[1] for c in (2e5, 100.0)] == [
        pytest.approx(299.9), pytest.approx(300.0),
    ]  # fmt: skip


def test_weights_that_change_in_place_give_the_new_answer():
    layer = torch.nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        layer.weight[:] = 1.0
    f = lambda x: layer(x)[..., 0]  # noqa: E731
    found = [slope(f)]
    with torch.no_grad():
        layer.weight *= 1 + 2e-12  # far below what a comparison sees
    found.append(slope(f, x0=X0))
    with torch.no_grad():
        layer.weight *= 5
    found.append(slope(f))
    assert found[1] != found[0]
    assert np.round(found, 9).tolist() == [1, 1, 5]


def test_what_reads_a_file_has_no_structure(tmp_path, traced):
    file = tmp_path / "scale"

    def f(x):
        return float(file.read_text()) * x.sum(-1)

    found, counts = [], []
    for text in ("1", "3", "3"):
        file.write_text(text)
        found.append(slope(f))
        counts.append(len(traced))
    assert np.round(found, 9).tolist() == [1, 3, 3]
    assert counts == [4, 8, 12]


# ------------------------------------------- found by a hostile reading: all of these once gave 1,000 twice
LIMIT = 1e3


def seen(phi):
    """The mean of phi where x doubles 20 times from 0.1: at 1e5, far beyond all points of comparison."""
    double = ss.optimizer(ss.sgd, ss.ExactOracle(lambda x: -(x * x).sum(-1) / 2), eta=1.0)
    return round(run(double, [0.1, 0.1], {"phi": phi}, steps=20, n=1)[-1], 6)


def by_recursion(limit):
    def f(x, k=2):
        return x[..., 0].clamp(max=limit) if k == 0 else f(x, k - 1)

    return f


@dataclass(frozen=True)
class Clip:
    limit: float

    def __call__(self, x):
        return x[..., 0].clamp(max=self.limit)


class Within:
    def __init__(self, held):
        self.held = held

    def __call__(self, x):
        return self.held[0](x)


class OfClass:
    LIMITS = (1e3,)

    def __call__(self, x):
        return x[..., 0].clamp(max=self.LIMITS[0])


def by_class_attribute(limit):
    OfClass.LIMITS = (limit,)
    return OfClass()


class ByProperty:
    @property
    def limit(self):
        return LIMIT

    def __call__(self, x):
        return x[..., 0].clamp(max=self.limit)


def by_property(limit):
    global LIMIT
    LIMIT = limit
    return ByProperty()


class Slotted:
    __slots__ = ("limit",)

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, x):
        return x[..., 0].clamp(max=self.limit)


class Network(torch.nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        return x[..., 0].clamp(max=self.limit)


ONE_NETWORK = Network(1e3)


def by_network(limit):
    ONE_NETWORK.limit = limit
    return ONE_NETWORK


def by_hook(limit):
    layer = torch.nn.Identity()
    layer.register_forward_hook(lambda m, given, out: out.clamp(max=limit))
    return lambda x: layer(x)[..., 0]


def by_function_attribute(limit):
    def f(x):
        return x[..., 0].clamp(max=f.limit)

    f.limit = limit
    return f


helper.deeper = types.ModuleType("helper.deeper")
helper.deeper.__file__ = __file__


def by_deep_module(limit):
    helper.deeper.LIMIT = limit
    return lambda x: x[..., 0].clamp(max=helper.deeper.LIMIT)


def by_module_in_a_closure(limit):
    helper.deeper.LIMIT = limit
    held = helper.deeper
    return lambda x: x[..., 0].clamp(max=held.LIMIT)


NO_FILE = types.ModuleType("made_by_hand")


def by_module_without_a_file(limit):
    NO_FILE.LIMIT = limit
    return lambda x: x[..., 0].clamp(max=NO_FILE.LIMIT)


def by_import(limit):
    helper.LIMIT = limit

    def f(x):
        import helper_of_tests

        return x[..., 0].clamp(max=helper_of_tests.LIMIT)

    sys.modules["helper_of_tests"] = helper
    return f


QUEUE = collections.deque([1e3])


def by_queue(limit):
    QUEUE[0] = limit
    return lambda x: x[..., 0].clamp(max=QUEUE[0])


def by_bound_builtin(limit, held=[0.0]):  # noqa: B006
    held[0] = limit
    read = held.__getitem__
    return lambda x: x[..., 0].clamp(max=read(0))


class Attributed(dict):
    limit = 0.0


def by_subclass(limit):
    held = Attributed()
    held.limit = limit
    return lambda x: x[..., 0].clamp(max=held.limit)


class Length(float):
    unit = 1.0


def by_float_subclass(limit):
    held = Length(1.0)
    held.unit = limit
    return lambda x: x[..., 0].clamp(max=held.unit)


def by_environment(limit):
    os.environ["SDESAM_TEST_LIMIT"] = str(limit)
    return lambda x: x[..., 0].clamp(max=float(os.environ["SDESAM_TEST_LIMIT"]))


HIDDEN = [
    by_recursion, Clip, by_class_attribute, by_property, Slotted, by_network, by_hook, by_function_attribute,
    by_deep_module, by_module_in_a_closure, by_module_without_a_file, by_import, by_queue, by_bound_builtin,
    by_subclass, by_float_subclass, by_environment, lambda limit: Within([Clip(limit)]),
]  # fmt: skip


@pytest.mark.parametrize("way", HIDDEN, ids=lambda way: way.__name__)
def test_a_limit_far_from_the_start_is_never_an_old_one(way):
    assert [seen(way(limit)) for limit in (1e3, 1e4, 1e3)] == [1e3, 1e4, 1e3]


def test_one_object_in_two_places():
    for limit in (1e3, 1e4):
        shared = Clip(limit)
        double = ss.optimizer(ss.sgd, ss.ExactOracle(lambda x: -(x * x).sum(-1) / 2), eta=1.0)
        found = run(double, [0.1, 0.1], {"a": shared, "b": Within([shared])}, steps=20, n=1)
        assert (round(found[20]), round(found[-1])) == (limit, limit)


def wrapped_update(limit):
    @functools.wraps(ss.sam)
    def wrapper(g, x, z, *, rho):
        return ss.sam(g, x, z, rho=rho).clamp(-limit, limit)

    return wrapper


def going_by_its_type(g, x, z, *, rho):
    return -x.clamp(max=1e3 if isinstance(rho, float) else 1e9)


def looked_up(g, x, z, *, rho):
    return -x.clamp(max={0.1: 1e3, 0.2: 1e4}.get(rho, 1e9))


def moved(update, rho=0.1):
    flat = ss.ExactOracle(lambda x: -(x * x).sum(-1) / 2)
    kernel = ss.optimizer(partial(update, rho=rho), flat, eta=1.0)
    fused, eager = (
        ss.simulate(kernel, [0.1, 0.1], steps=20, observables={"x": lambda x: x[..., 0]}, n=1, engine=engine)
        for engine in ("fused", "eager")
    )
    np.testing.assert_allclose(fused.estimate("x").value, eager.estimate("x").value, rtol=1e-12)


def test_updates_that_wrap_ours_or_go_by_the_number_they_get():
    for limit in (1e3, 1e4):
        moved(wrapped_update(limit))
    moved(going_by_its_type)
    for rho in (0.7, 0.1, 0.2, 0.7):
        moved(looked_up, rho)


def test_the_users_code_sees_no_parameter_of_a_trace():
    kinds, kept = set(), {}

    def update(g, x, z, *, rho):
        kinds.add((type(rho), type(g.sigma)))
        kept.setdefault(rho, 2 * rho)
        return g(x, z) * rho

    for rho in (0.1, 0.3):
        run(sam(rho=rho, update=update))
    assert kinds == {(float, float)} and sorted(kept) == [0.1, 0.3]


@dataclass(frozen=True)
class Heavy:
    """Momentum from rest: its first step says nothing about beta."""

    beta: object
    noise = Normal(2)
    substeps, dt, name = 1, 0.1, "heavy"

    def init(self, x0):
        return x0, torch.zeros_like(x0)

    def position(self, state):
        return state[0]

    def step(self, state, z):
        x, v = state
        v = self.beta.value * v - 0.1 * (x + 0.1 * z)
        return x + v, v


class Value:
    def __init__(self, value):
        self.value = value


def test_a_state_at_rest_hides_nothing(monkeypatch):
    monkeypatch.setattr(Parameters, "key", property(lambda self: "one"))  # as if the structure saw nothing
    beta = Value(0.9)
    found = []
    for value in (0.9, 0.1):
        beta.value = value
        run(Heavy(beta), steps=1)
        found.append(run(Heavy(beta), steps=20)[20])
    assert found[0] == pytest.approx(run(Heavy(Value(0.9)), steps=20)[20], rel=1e-12)
    TRACES.clear()
    assert found[1] == run(Heavy(Value(0.1)), steps=20)[20] and found[0] != found[1]


def test_what_was_traced_before_changes_no_bit():
    def update(g, x, z, *, rho, alpha):
        return torch.as_tensor(rho) * ((alpha**3) * g(x, z))

    def result(rho):
        kernel = ss.optimizer(partial(update, rho=rho, alpha=1.427), ss.GaussianOracle(ss.Saddle(), 0.2), eta=3.0)
        return run(kernel)

    alone = result(0.25)
    TRACES.clear()
    result(0.1)
    np.testing.assert_array_equal(result(0.25), alone)


def test_what_is_long_or_cannot_be_hashed_is_traced_at_every_call(traced):
    numbers = [float(i) for i in range(10**5)]

    def f(x):
        return numbers[3] * x.sum(-1)

    assert [round(slope(f), 9) for _ in range(2)] == [3, 3]
    assert len(TRACES) == 0 and len(traced) == 8


def test_a_structure_that_sees_too_little_gives_no_wrong_answer(monkeypatch):
    """Were all keys the same, every list would still be compared with its function."""
    monkeypatch.setattr(Parameters, "key", property(lambda self: ("one", len(self.open))))
    found = [slope(Frozen(c)) for c in (1.0, 3.0)] + [slope(lambda x: 7 * x.sum(-1)), slope(lambda x: 8 * x.sum(-1))]
    assert np.round(found, 9).tolist() == [1, 3, 7, 8]


def test_what_counts_or_draws_is_still_refused():
    calls = iter(range(1000))
    with pytest.raises(ValueError, match="changes from call to call|mixes|draws"):
        run(ss.optimizer(lambda g, x, z: g(x, z) * (1 + next(calls)), ss.ExactOracle(ss.Saddle()), 0.1))


# ----------------------------------------------------------------- two traces of one function
def listed_of(function, *numbers):
    return listed.trace(lambda x, *p: [function(x, *p)], [torch.ones(1, 1, dtype=torch.float64), *numbers], "f", 100, 1)


@pytest.mark.parametrize("other", [1e3, 0.7500001])
def test_lists_that_differ_far_away_or_by_little_are_not_alike(other):
    eta = torch.tensor(0.75, dtype=torch.float64)
    lists = [bound(listed_of(lambda x, p: p * x.clamp(max=1e9), eta), [v]) for v in (0.75, 0.75)]
    require_alike(*lists, "f")
    planted = listed_of(lambda x: (0.75 * x.clamp(max=1e3)) if other == 1e3 else other * x.clamp(max=1e9))
    with pytest.raises(listed.NotTraceable, match="with open parameters gives"):
        require_alike(lists[0], planted, "f")


def test_a_parameter_asked_for_is_told_although_the_function_catches_the_refusal():
    def careless(x, p):
        try:
            return x * float(p)
        except Exception:
            return x

    with pytest.raises(listed.NotTraceable) as refused:
        listed_of(careless, torch.tensor(0.5, dtype=torch.float64))
    assert refused.value.asked == {0}


def test_what_keeps_something_from_call_to_call_is_not_kept():
    class Counting:
        calls = 0

        def __call__(self, x):
            self.calls += 1
            return x[..., 0]

    run(sam(), observables={"x": Counting()})
    assert len(TRACES) == 0
    run(sam(), observables={"x": lambda x: x[..., 0]})
    assert len(TRACES) == 1


# ----------------------------------------------------------------- compared at every use
def test_only_the_packages_code_is_not_compared_twice_with_the_same_numbers(monkeypatch):
    compared = []
    old = listed._compare
    monkeypatch.setattr(listed, "_compare", lambda *a: (compared.append(1), old(*a))[1])
    ours, own = {"x": ss.coordinate(0)}, {"x": lambda x: x[..., 0]}
    counts = []
    for observables, f in ((ours, None), (own, None), (ours, lambda x: (x * x).sum(-1))):
        compared.clear()
        for eta, seed in ((0.1, 0), (0.1, 1), (0.1, 2), (0.2, 0), (0.2, 1), (0.1, 3)):
            run(sam(eta=eta, f=f), observables=observables, seed=seed)
        counts.append(len(compared))
        run(sam(f=f), x0=[0.4, 0.4], observables=observables)
        assert len(compared) == counts[-1] + 1
    assert counts == [3, 6, 6]  # when it is traced, once more there, and at the other eta


# ----------------------------------------------------------------- what is kept
def test_no_object_is_kept_alive_and_the_memo_is_bounded():
    @dataclass(frozen=True, eq=False)
    class Own:
        c: float

        def __call__(self, x):
            return self.c * x.sum(-1)

    held = Own(2.0)
    slope(held)
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None
    assert 0 < len(TRACES) <= TRACES.most


def test_shared_parts_stay_shared_and_a_new_value_is_of_the_same_structure():
    value = (pair(), {"a": 1})
    parameters = Parameters.of(value)
    again = parameters.with_numbers(value, [2 * v for v in parameters.numbers])
    assert Parameters.of(again).key == parameters.key
    assert Parameters.of(again).numbers == tuple(2 * v for v in parameters.numbers)
    one, other = (k.kernels if hasattr(k, "kernels") else k for k in again[0].kernels)
    assert one.g is not value[0].kernels[0].g and one.g.mean is value[0].kernels[0].g.mean
    assert value[0] is not again[0] and value[1] is again[1] and other is not None
