import math

import pytest
import torch
from cases import FINITE_SUM, LANDSCAPES, MODULE, half_square, module, points

import sdesam as ss
from sdesam.engine.tracing.named import named_function
from sdesam.problems.landscapes import require_landscape

T = torch.float64
ROUNDING = 64 * torch.finfo(T).eps  # known points that were turned or solved for are exact to rounding
KNOWN = {k: f for k, f in LANDSCAPES.items() if hasattr(f, "minimizers")}


@pytest.mark.parametrize("f", KNOWN.values(), ids=KNOWN)
def test_known_points_are_critical_and_of_their_kind(f):
    for x in f.minimizers:
        assert float(ss.norm(ss.grad(f)(x))) <= ROUNDING
        assert float(torch.linalg.eigvalsh(ss.hessian(f)(x)).min()) >= -ROUNDING
    for x in f.saddles:
        assert float(ss.norm(ss.grad(f)(x))) <= ROUNDING
        values = torch.linalg.eigvalsh(ss.hessian(f)(x))
        assert float(values.min()) < -0.1 < 0.1 < float(values.max())


@pytest.mark.parametrize("f", KNOWN.values(), ids=KNOWN)
def test_minimizers_are_lower_than_their_neighbours(f):
    """Independent of derivatives: no random point nearby lies lower."""
    for x in f.minimizers:
        near = x + 1e-3 * points(f, 200)
        assert float(f(near).min() - f(x)) >= -ROUNDING


def test_every_landscape_has_a_known_point_or_says_none():
    assert sum(len(f.minimizers) + len(f.saddles) for f in KNOWN.values()) >= 25


def test_tanh_network_curvature_on_the_valley():
    u = torch.linspace(-2, 2, 9, dtype=T)
    H = ss.hessian(ss.TanhNetwork())(torch.stack((u, torch.zeros(9, dtype=T)), -1))
    expected = torch.zeros(9, 2, 2, dtype=T)
    expected[:, 1, 1] = torch.tanh(u) ** 2
    torch.testing.assert_close(H, expected, rtol=0, atol=1e-15)


def test_log_cosh_is_accurate_at_zero_and_far_out():
    f = ss.LogCosh(1)
    x = torch.tensor([[1e-12], [0.3], [-15.0], [25.0], [-800.0]], dtype=T)
    expected = torch.logaddexp(x, -x)[:, 0] - torch.log(torch.tensor(2.0, dtype=T))
    torch.testing.assert_close(f(x)[1:], expected[1:], rtol=1e-15, atol=0)
    torch.testing.assert_close(f(x)[0], torch.tensor(0.5e-24, dtype=T), rtol=1e-12, atol=0)
    torch.testing.assert_close(ss.grad(f)(x), torch.tanh(x), rtol=1e-15, atol=0)
    assert float(ss.hessian(f)(torch.zeros(1, dtype=T))) == 1
    torch.testing.assert_close(ss.hessian(f)(x)[..., 0], 1 / torch.cosh(x) ** 2, rtol=1e-12, atol=4e-16)


def test_finite_sum_is_the_mean_of_its_losses():
    x = points(FINITE_SUM, 2, 3)
    losses = FINITE_SUM.losses(x)
    assert losses.shape == (2, 3, 5)
    a, b = FINITE_SUM.data
    one = (torch.tanh(x[1, 2, 0] * a) * x[1, 2, 1] - b) ** 2 / 2
    torch.testing.assert_close(losses[1, 2], one)
    torch.testing.assert_close(FINITE_SUM(x), losses.mean(-1))


def test_embedded_saddle_curvatures():
    f = LANDSCAPES["embedded_saddle"]
    at_saddle = torch.linalg.eigvalsh(ss.hessian(f)(f.saddles[0]))
    torch.testing.assert_close(at_saddle, torch.tensor([-1.5, -0.5, 1.0], dtype=T))  # to rounding: of whatever LAPACK
    at_minimum = torch.linalg.eigvalsh(ss.hessian(f)(f.minimizers[0]))
    torch.testing.assert_close(at_minimum, torch.tensor([1.0, 1.0, 3.0], dtype=T))  # −2λ where λ < 0


def test_a_rotated_landscape_is_the_landscape_at_turned_points():
    f = ss.TanhNetwork()
    turned = ss.Rotated(f, ss.rotation(0.7))
    x = points(f, 5)
    torch.testing.assert_close(turned(x @ ss.rotation(0.7).T), f(x))
    rotated_gradient = ss.grad(f)(x) @ ss.rotation(0.7).T
    torch.testing.assert_close(ss.grad(turned)(x @ ss.rotation(0.7).T), rotated_gradient)


def test_product_valley_curvature_and_wens_eigenvalues():
    y = 1.7
    H = ss.hessian(ss.ProductValley())(torch.tensor([0.0, y], dtype=T))
    torch.testing.assert_close(H, torch.tensor([[y * y, 0.0], [0.0, 0.0]], dtype=T))
    f, x = ss.WenValley(), torch.tensor([0.4, 0.6, 0.0, 0.0], dtype=T)
    F1, F2 = 0.4**2 + 6 * 0.6**2 + 8, 4 * 0.6**2 + 0.4**2 + 1
    torch.testing.assert_close(ss.hessian(f)(x).diagonal(), torch.tensor([0, 0, 2 * F1, 2 * F2], dtype=T))
    torch.testing.assert_close(f.terms(points(f, 3)).sum(-1), f(points(f, 3)))


def test_autoencoder_against_matrices():
    f = LANDSCAPES["autoencoder"]
    x = points(f)
    first, second = x[:6].reshape(2, 3), x[6:].reshape(3, 2)
    C = torch.diag(torch.tensor([1.0, 0.5, 2.0], dtype=T))
    error = (second @ first - torch.eye(3, dtype=T)) @ C.sqrt()
    torch.testing.assert_close(f(x), (error**2).sum() / 2)
    assert float(f(f.minimizers[0])) == pytest.approx(0.25, rel=1e-14)  # half the variance that is lost
    spectrum = torch.linalg.eigvalsh(ss.hessian(f)(torch.zeros(12, dtype=T)))
    assert spectrum.tolist() == pytest.approx(sorted([-2.0, -1.0, -0.5] * 2 + [0.5, 1.0, 2.0] * 2))


def test_teacher_student():
    from sdesam.problems.datasets import teacher_student

    f = LANDSCAPES["teacher_student"]
    assert float(f(f.minimizers[0])) == 0
    other = teacher_student(width=2, layers=2, teacher=torch.nn.Identity(), weight_decay=0.1)
    assert (other.N, other.dim, len(other.minimizers)) == (4, 8, 0)
    x = points(other)
    a, b = other.data
    output = torch.sigmoid(torch.sigmoid(a @ x[:4].reshape(2, 2).T) @ x[4:].reshape(2, 2).T)
    torch.testing.assert_close(other(x), ((output - b) ** 2).sum(-1).mean() / 2 + 0.05 * (x * x).sum())


def test_breast_cancer_network():
    from sdesam.problems.datasets import breast_cancer, breast_cancer_network

    f = breast_cancer_network(3, weight_decay=0.1)
    a, y = breast_cancer()
    assert (f.dim, f.N, sorted(set(y.tolist()))) == (93, 569, [-1.0, 1.0])
    x = points(f)
    output = torch.sigmoid(a @ x[:90].reshape(3, 30).T) @ x[90:]
    expected = torch.log1p(torch.exp(-y * output)).mean() + 0.05 * (x * x).sum()
    torch.testing.assert_close(f(x), expected)


# ----------------------------------------------------------------- numbers that are none yet
def vector(x, *values):
    return torch.tensor(values, dtype=x.dtype)


def embedded(x, a, b):
    square = x * x
    return ((vector(x, a, -1.0) / 2 + b * square) * square).sum(-1)


def turned(x, a, b):
    c, s = math.cos(a), math.sin(a)
    return (vector(x, a, -b) / 2 * (y := x @ torch.tensor([[c, -s], [s, c]], dtype=T).to(x)) * y).sum(-1)


# of two numbers, and the formula in them as it was before they could be traced
OF_NUMBERS = {
    "quadratic": (
        lambda a, b: ss.Quadratic([[a, 0.3], [0.3, -b]]),
        lambda x, a, b: ((x @ (torch.tensor([[2 * a, 0.6], [0.6, -2 * b]], dtype=T) / 4).to(x)) * x).sum(-1),
    ),
    "saddle": (lambda a, b: ss.Saddle((a, -b)), lambda x, a, b: (vector(x, a, -b) / 2 * x * x).sum(-1)),
    "embedded": (lambda a, b: ss.EmbeddedSaddle((a, -1.0), lam=b), embedded),
    "rotated": (lambda a, b: ss.Rotated(ss.Saddle((a, -b)), ss.rotation(a)), turned),
    "product": (
        lambda a, b: ss.ProductValley(bottom=a),
        lambda x, a, b: ss.LogCosh(1)((x[..., 0] * x[..., 1] - a)[..., None]),
    ),
}
A, B = 0.61, 1.37


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("dtype", [T, torch.float32])
def test_numbers_give_the_bits_they_gave_before_they_could_be_traced(name, dtype):
    make, written = OF_NUMBERS[name]
    f, x = make(A, B), 2 * torch.randn(50, 2, dtype=dtype)
    before = lambda x: written(x, A, B)  # noqa: E731
    for what in (lambda f: f, ss.grad, ss.hessian):
        assert torch.equal(what(f)(x), what(before)(x))


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("dtype", [T, torch.float32])
def test_traced_numbers_reach_the_list_of_value_gradient_and_hessian(name, dtype):
    """``named_function`` compares the list with torch at other numbers than those that it was made with."""
    make, _ = OF_NUMBERS[name]

    def parts(v, x):
        f = make(v["a"], v["b"])
        return [f(x), *ss.grad(f)(x).unbind(-1), *ss.hessian(f)(x).flatten(-2).unbind(-1)]

    named_function(parts, {"a": A, "b": B}, torch.randn(5, 2, dtype=dtype), name)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_landscape_of_rows_of_numbers_and_its_derivative_by_them(name):
    make, written = OF_NUMBERS[name]
    a, x = torch.linspace(0.4, 1.4, 7, dtype=T), torch.randn(7, 2, dtype=T)
    values = torch.func.vmap(lambda a, x: make(a, B)(x))(a, x)
    torch.testing.assert_close(values, torch.stack([written(x[i], float(a[i]), B) for i in range(7)]))
    slope = torch.func.grad(lambda a: make(a, B)(x).sum())(a[2])
    high, low = (written(x, float(a[2]) + h, B).sum() for h in (1e-5, -1e-5))
    torch.testing.assert_close(slope, (high - low) / 2e-5, rtol=1e-7, atol=1e-8)


# ----------------------------------------------------------------- torch modules
def test_a_module_is_a_landscape_over_its_flat_parameters():
    model = module()
    x = ss.flat_parameters(model)
    inputs, targets = MODULE.data
    torch.testing.assert_close(MODULE(x), half_square(model(inputs), targets) / 4)
    half_square(model(inputs), targets).div(4).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(ss.grad(MODULE)(x), expected)
    assert MODULE.dim == len(x) == 14


def test_modules_that_are_no_sum_over_data_are_refused():
    data = (torch.ones(4, 3), torch.ones(4, 1))
    with pytest.raises(ValueError, match="must not normalise over the batch: layer 1 .BatchNorm1d."):
        ss.landscape_from_module(module().train(), half_square, data)
    dropout = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match="must be deterministic given its data: layer 1 .Dropout."):
        ss.landscape_from_module(dropout, half_square, data)
    assert ss.landscape_from_module(dropout.eval(), half_square, data).dim == 4
    with pytest.raises(ValueError, match="must have trainable parameters"):
        ss.landscape_from_module(torch.nn.ReLU(), half_square, data)

    class Noisy(torch.nn.Linear):
        def forward(self, a):
            return torch.nn.functional.dropout(super().forward(a), 0.5)

    with pytest.raises(ValueError, match="without random numbers"):
        ss.landscape_from_module(Noisy(3, 1), half_square, data)
    with pytest.raises(ValueError, match="must give a twice differentiable scalar"):
        ss.landscape_from_module(module(), lambda output, target: output - target, data)


def test_iris_network():
    from sdesam.problems.datasets import iris, iris_linear_network

    f = iris_linear_network()
    features, labels = iris()
    assert (f.dim, f.N) == (28, 150)
    x = points(f)
    logits = features @ (x[16:].reshape(3, 4) @ x[:16].reshape(4, 4)).T
    torch.testing.assert_close(f(x), torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ss.Quadratic(torch.ones(2, 3)), ValueError, r"square matrix \(d, d\), got shape \(2, 3\)"),
        (lambda: ss.Quadratic(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), ValueError, "symmetric"),
        (lambda: ss.Quadratic(torch.tensor([[1, 0], [0, 1]])), TypeError, "floats"),
        (lambda: ss.Quadratic(torch.tensor([[float("nan")]])), ValueError, "finite"),
        (lambda: ss.Saddle((1.0, 2.0)), ValueError, "both signs"),
        (lambda: ss.LogCosh(0), ValueError, "dim must be >= 1"),
        (lambda: ss.EmbeddedSaddle((1.0, 2.0)), ValueError, "both signs"),
        (lambda: ss.EmbeddedSaddle((1.0, -2.0), lam=0.0), ValueError, "lam must be > 0"),
        (lambda: ss.Rotated(ss.Saddle(), torch.tensor([[1.0, 0.1], [0.0, 1.0]])), ValueError, "orthogonal"),
        (lambda: ss.Rotated(ss.Saddle(), torch.eye(3)), ValueError, "d = 2"),
        (lambda: ss.LinearAutoencoder((1.0, 1.0), bottleneck=2), ValueError, "more than bottleneck = 2"),
        (lambda: ss.quadratics(torch.ones(2, 3, 3), torch.ones(2, 2)), ValueError, "b .N, d."),
        (lambda: ss.quadratics(torch.tensor([[[1.0, 1.0], [0.0, 1.0]]]), torch.ones(1, 2)), ValueError, "symmetric"),
        (lambda: ss.FiniteSum(half_square, torch.ones(3), dim=2, minimizers=torch.ones(3)), ValueError, "rows .K, 2."),
        (
            lambda: ss.FiniteSum(lambda x, d: x.sum(), (torch.ones(3), torch.ones(4))),
            ValueError,
            "one length",
        ),
    ],
)
def test_bad_landscapes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_shape_law_is_checked():
    x = torch.zeros(2, dtype=T)
    with pytest.raises(ValueError, match="miss dim=-1"):
        require_landscape(lambda x: (x**2).sum(), x)
    with pytest.raises(ValueError, match=r"returned \(2, 3, 2\)"):
        require_landscape(lambda x: x**2, x)
    with pytest.raises(ValueError, match="last dimension 3"):
        require_landscape(LANDSCAPES["quadratic"], x)
    with pytest.raises(ValueError, match="scalar for one point"):
        ss.FiniteSum(lambda x, datum: x * datum, torch.ones(3, dtype=T))(x)
