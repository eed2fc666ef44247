"""What a first adversarial reader broke: wrong nodes, borrowed memory, silent casts, and modules that are no sum."""

from functools import partial

import numpy as np
import pytest
import torch
from cases import SIX, half_square

import sdesam as ss
from sdesam.problems.datasets import iris, iris_linear_network, tanh_network_data
from sdesam.problems.noise import Choice, Normal
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments

T = torch.float64
ONE = ss.MinibatchOracle(SIX, 1)
TWO = ss.MinibatchOracle(SIX, 2)
X = torch.tensor([[0.9, 1.3]], dtype=T)
LINE = ss.quadratics(np.array([[[0.5]], [[1.5]]]), np.array([[0.3], [0.7]]))


def test_a_finite_sum_needs_no_dimension():
    f = ss.FiniteSum(lambda x, c: ((x - c) ** 2).sum() / 2, torch.linspace(0, 1, 12, dtype=T).reshape(6, 2))
    kernel = ss.optimizer(partial(ss.sam, rho=0.1), ss.MinibatchOracle(f, 1), 0.1)
    assert ss.simulate(kernel, [1.0, 1.0], steps=2, observables={"f": f}, n=4).count[-1] == 4


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        (TWO.noise.nodes(), ValueError, "in another shape they are another optimizer's noise"),
        ((ONE.noise.nodes()[0], torch.ones(6, dtype=T)), ValueError, "sum to 1, got a sum of 6"),
        ((ONE.noise.nodes()[0] - 1, ONE.noise.nodes()[1]), ValueError, r"indices 0..5, got -1..4"),
        ((ONE.noise.nodes()[0][:4], ONE.noise.nodes()[1]), ValueError, "6 draws"),
        (64, TypeError, "nodes"),
        (ONE.noise.nodes()[0], TypeError, "nodes"),
    ],
)
@pytest.mark.parametrize("model", [mc23.sgd_sde, mc23.usam_sde, mc23.sam_sde])
def test_nodes_of_another_noise_are_refused(model, nodes, error, message):
    with pytest.raises(error, match=message):  # annotations are checked first under the tests' type checker
        model(ONE, eta=0.1, rho=0.1, nodes=nodes)


def test_batches_of_the_wrong_width_are_refused():
    with pytest.raises(ValueError, match="z must hold 1 = batch_size indices"):
        ONE(X, torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize("bad", [float("nan"), -0.1])
def test_probabilities_are_numbers(bad):
    with pytest.raises(ValueError, match="positive everywhere|probabilities"):
        ss.MinibatchOracle(SIX, 1, p=(bad, 0.2, 0.2, 0.2, 0.2, 0.2))
    with pytest.raises(ValueError, match="6 probabilities summing to 1"):
        Choice(6, 1, (bad, 0.2, 0.2, 0.2, 0.2, 0.2))


def test_draws_without_replacement_are_the_stepwise_ones():
    """The closed form of "the j-th value not chosen yet" against stepping over the chosen ones."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 2**32, size=(5, 200), dtype=np.uint32)
    drawn = Choice(8, 5).draw(lambda k: raw, T)
    for column, batch in zip(raw.T, drawn, strict=True):
        left, chosen = list(range(8)), []
        for k, u in enumerate(column):
            chosen.append(left.pop(int(u) * (8 - k) >> 32))
        assert batch.tolist() == sorted(chosen)


def test_more_data_than_the_cap_on_nodes():
    N = 12_000
    g = ss.MinibatchOracle(ss.quadratics(np.ones((N, 1, 1)), np.linspace(-1, 1, N)[:, None]), 8)
    x = torch.ones(1, 1, dtype=T)
    usam = mc23.usam_sde(g, eta=0.1, rho=0.1, nodes=g.noise.sampled(50, 0))
    assert float(usam.coefficients(x)[0]) == pytest.approx(-1.1)
    assert float(mc23.sgd_sde(g, eta=0.1).coefficients(x)[0]) == pytest.approx(-1.0)
    assert ss.gaussian_surrogate(g).sigma(x).shape == (1, 1, N)
    with pytest.raises(ValueError, match="about 10\\^28 points.*take a smaller batch"):
        mc23.sam_sde(g, eta=0.1, rho=0.1)


# ----------------------------------------------------------------- sampling errors
def test_printed_forms_carry_the_sampling_error_of_what_they_were_cut_from():
    nodes = TWO.noise.sampled(64, 0)
    right = ss.sampling_error(mc23.sam_sde(TWO, eta=0.1, rho=0.1, nodes=nodes), X)
    printed = ss.sampling_error(mc23.sam_sde_as_printed(TWO, eta=0.1, rho=0.1, nodes=nodes, clip=True), X)
    assert float(right[0].abs().max()) > 0
    assert all(torch.equal(a, b) for a, b in zip(right, printed, strict=True))
    slides = ss.sampling_error(mc23.usam_sde_as_printed(TWO, eta=0.1, rho=0.1, nodes=nodes), X)
    assert float(slides[1].min()) > 0


def test_exact_rules_have_no_sampling_error():
    g = ss.GaussianOracle(ss.LogCosh(2), lambda x: torch.diag_embed(1 + x * x), dim=2)
    for sde in (mc23.usam_sde(g, eta=0.1, rho=0.3), mc23.sam_sde(TWO, eta=0.1, rho=0.3, nodes=TWO.noise.nodes())):
        assert all(float(e.abs().max()) == 0 for e in ss.sampling_error(sde, X))


# ----------------------------------------------------------------- data
def test_data_are_copied():
    A = np.array([[0.5], [1.5]])
    f = ss.FiniteSum(lambda x, a: (x * a).sum(), A)
    before = f(X[:, :1])
    A *= 10
    assert torch.equal(f(X[:, :1]), before)
    pytest.importorskip("sklearn")
    features, _ = iris()
    kept = features.clone()
    features += 1
    assert torch.equal(iris()[0], kept)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LINE.losses(torch.tensor([2])), "float|Float"),
        (lambda: LINE(torch.ones(3, 2, dtype=T)), "last dimension 1"),
        (lambda: ss.FiniteSum(half_square, [np.ones(6), np.ones(6)]), "a tuple of them, got list|data"),
        (lambda: ss.FiniteSum(half_square, np.array([[1.0], [np.nan]])), "data must be finite"),
        (lambda: ss.FiniteSum(half_square, torch.tensor(1.0)), "must have N rows"),
        (lambda: ss.quadratics(np.ones((0, 1, 1)), np.ones((0, 1))), r"must be \(N, d, d\)"),
        (lambda: ss.quadratics(np.full((2, 1, 1), np.nan), np.ones((2, 1))), "finite and of one dtype"),
        (lambda: iris_linear_network(0), "hidden must be >= 1"),
        (lambda: ss.ProductValley(lambda s: s * s / 2, bottom=1.0), "its slope is 1"),
        (lambda: ss.ProductValley(bottom=float("nan")), "bottom must be finite"),
        (lambda: kernel_moments(ss.optimizer(ss.sgd, ss.MinibatchOracle(LINE, 1), 0.1), [1.0, 2.0], 2), "dimension 1"),
        (lambda: sde_moments(mc23.sgd_sde(ss.MinibatchOracle(LINE, 1), eta=0.1), [1.0, 2.0], 0.1, 2), "1 numbers"),
    ],
)
def test_bad_data(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_the_default_valley_is_at_its_bottom():
    f = ss.ProductValley(bottom=1.0)
    assert float(ss.grad(f)(f.minimizers).abs().max()) < 1e-14
    turned = ss.Rotated(ss.EmbeddedSaddle(), ss.rotation(0.3).float())
    assert turned.minimizers.dtype == torch.float32


def test_moments_refuse_noise_of_a_higher_degree():
    def cubic(g, x, z):
        return g(x, z) + z**3

    kernel = ss.optimizer(cubic, ss.GaussianOracle(ss.LogCosh(1), 0.0), 0.1)
    with pytest.raises(ValueError, match="degree 2 in its normal noise"):
        kernel_moments(kernel, [0.1], 2)
    nodes = Normal(1).nodes(6)
    quadratic = ss.optimizer(cubic, ss.GaussianOracle(ss.Quadratic(torch.eye(1, dtype=T)), 0.0), 0.1)
    assert kernel_moments(quadratic, [0.0], 1, nodes=nodes).second[1, 0, 0] == pytest.approx(0.15)
    pair = ss.coupled(kernel, kernel)
    with pytest.raises((TypeError, ValueError), match="iterate as its state"):
        kernel_moments(pair, [0.1], 2)


# ----------------------------------------------------------------- modules
class Restless(torch.nn.Linear):
    """Another output at every call, without torch's generator."""

    calls = 0

    def forward(self, a):
        Restless.calls += 1
        return super().forward(a) + Restless.calls


DATA = (torch.linspace(-1, 1, 12, dtype=T).reshape(4, 3), torch.linspace(0, 1, 4, dtype=T)[:, None])


def test_modules_are_copied_and_frozen_parameters_stay():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    model[0].requires_grad_(False)
    f = ss.landscape_from_module(model, half_square, DATA)
    assert f.dim == 3 == len(ss.flat_parameters(model))
    x = ss.flat_parameters(model)
    before = f(x)
    with torch.no_grad():
        model[0].weight += 1
    assert torch.equal(f(x), before)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (Restless(3, 1), half_square, "two calls at one x gave two values"),
        (torch.nn.Linear(2, 1), half_square, "RuntimeError"),
        (torch.nn.Linear(3, 1), lambda out, y: ((out - y) ** 2).sum().sqrt(), "neither|mean or the sum"),
        ("a string", half_square, "model"),
    ],
)
def test_modules_that_will_not_do(model, loss, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ss.landscape_from_module(model, loss, DATA)


def _padded(out, y):
    """Cross-entropy on labels, of which -100 is padding: the mean over a batch of one such datum is 0/0."""
    return torch.nn.functional.cross_entropy(out, y)


def _logarithm(out, y):
    return -torch.log((y != 2).to(out)).mean() + 0 * out.sum()


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        (_padded, [0, -100, 1], "the loss of datum 1 is NaN at the module's parameters: "),
        (
            _padded,
            [0, 1, -100, -100],
            "the loss of datum 2 is NaN at the module's parameters, and those of 1 other data",
        ),
        (_logarithm, [0, 1, 1, 2], "the loss of datum 3 is infinite at the module's parameters"),
    ],
)
def test_the_datum_whose_loss_is_no_number_is_named(loss, labels, message):
    """It was called not deterministic, since NaN is not NaN."""
    inputs = torch.linspace(-1, 1, 2 * len(labels), dtype=T).reshape(-1, 2)
    with pytest.raises(ValueError, match=message):
        ss.landscape_from_module(torch.nn.Linear(2, 2), loss, (inputs, torch.tensor(labels)))


class Keeping(torch.nn.Linear):
    """A module that stores its last output, history and all."""

    def forward(self, a):
        self.last = super().forward(a)
        return self.last


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore:There is a performance drop:UserWarning")
def test_modules_that_cannot_be_copied_are_refused_with_a_sentence():
    keeping = Keeping(3, 1)
    keeping(torch.ones(2, 3))
    for model in (keeping, torch.nn.utils.weight_norm(torch.nn.Linear(3, 1))):
        with pytest.raises(ValueError, match="model must be a module that copy.deepcopy copies") as refused:
            ss.landscape_from_module(model, half_square, DATA)
        assert "\n" not in str(refused.value)
    modern = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 1))
    assert ss.landscape_from_module(modern, half_square, DATA).dim == 5


def test_class_weights_are_seen():
    data = (torch.randn(9, 3, dtype=T, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 2)
    model = torch.nn.Linear(3, 2).double()
    weights = torch.tensor([1.0, 9.0], dtype=T)
    with pytest.raises(ValueError, match="class weights do that"):
        ss.landscape_from_module(model, torch.nn.CrossEntropyLoss(weight=weights), data)
    assert ss.landscape_from_module(model, torch.nn.CrossEntropyLoss(weight=weights, reduction="sum"), data).dim == 8


# ----------------------------------------------------------------- printed forms
def test_no_noise_has_no_covariance_and_rounding_is_not_indefinite():
    assert float(mc23.sam_covariance_as_printed(ss.ExactOracle(ss.LogCosh(2)), X, rho=0.1).abs().max()) == 0
    same = tanh_network_data(torch.full((3,), 0.7, dtype=T), torch.full((3,), 0.2, dtype=T))
    sde = mc23.sam_sde_as_printed(ss.MinibatchOracle(same, 1), eta=0.1, rho=0.1)
    drift, diffusion = sde.coefficients(X)
    assert float(diffusion(torch.ones(1, 2, dtype=T)).abs().max()) < 1e-6 * float(drift.abs().max())


def test_row_sizes_keep_memory_flat():
    exact = mc23.usam_sde(TWO, eta=0.1, rho=0.1)
    assert mc23.usam_sde_truncated_as_printed(TWO, eta=0.1, rho=0.1).row_size >= exact.row_size > 0
    assert mc23.usam_sde_as_printed(TWO, eta=0.1, rho=0.1).row_size > 0
    assert mc23.sgd_sde(ss.gaussian_surrogate(TWO), eta=0.1).row_size == 12
