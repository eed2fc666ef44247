"""What is drawn and measured on a landscape, and the closed forms laid over it: functions of (numbers, vector)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..engine.tracing.named import NamedFunction
from ..problems.calculus import grad, hessian, norm, unit
from ..theory.exact.planar import planar_eigenvalues
from ..theory.monzio_compagnoni2023 import at_run_time as formulas
from ..theory.monzio_compagnoni2023 import sam_critical_rho, usam_critical_rho
from .families import Family

__all__ = ["EXIT_CELLS", "FORMULAS", "landscape_functions", "observables"]

EXIT_CELLS = 200  # of the mean exit time: 1e-4 relative and better
_FLAT = 1e-4  # a curvature below this share of the largest is no direction for Newton's method
_LONGEST = 0.5
Values = Mapping[str, Tensor]


def observables(family: Family) -> dict[str, NamedFunction]:
    """What can be averaged over particles: loss, squared distance from the reference, sharpness λ_max, coordinates."""
    f = _landscape(family)

    def distance(v: Values, x: Tensor) -> list[Tensor]:
        return [(x[..., 0] - v["reference_x"]) ** 2 + (x[..., 1] - v["reference_y"]) ** 2]

    return {
        "loss": lambda v, x: [f(v)(x)],
        "distance": distance,
        "sharpness": lambda v, x: [planar_eigenvalues(hessian(f(v))(x))[1]],
        "x[0]": lambda v, x: [x[..., 0] + 0.0],
        "x[1]": lambda v, x: [x[..., 1] + 0.0],
    }


def landscape_functions(family: Family) -> dict[str, NamedFunction]:
    """Functions of one point: value, gradient, curvatures with the axis of the lowest, Newton's step, attraction."""
    f = _landscape(family)

    def curvature(v: Values, x: Tensor) -> list[Tensor]:
        H = hessian(f(v))(x)
        low, high = planar_eigenvalues(H)
        return [low, high, *_axis(H, high).unbind(-1)]

    def newton(v: Values, x: Tensor) -> list[Tensor]:
        return list(_newton(grad(f(v))(x), hessian(f(v))(x), x).unbind(-1))

    def capture(v: Values, x: Tensor) -> list[Tensor]:
        point, direction = x[..., :2], x[..., 2:]
        H = hessian(f(v))(point)
        low, _ = planar_eigenvalues(H)
        response = (H * direction[..., None, :]).sum(-1)
        return list((point + formulas.capture_boundary(direction, response, -low, v["rho"])).unbind(-1))

    return {
        "value": lambda v, x: [f(v)(x)],
        "gradient": lambda v, x: list(grad(f(v))(x).unbind(-1)),
        "curvature": curvature,
        "newton": newton,
        "capture": capture,
    }


def _landscape(family: Family) -> Callable[[Values], Callable[[Tensor], Tensor]]:
    return lambda v: family.landscape(**{name: v[name] for name in family.parameters})


def _axis(H: Tensor, high: Tensor) -> Tensor:
    """The unit eigenvector of the lowest eigenvalue: the longer column of H − λ_high."""
    first = torch.stack((H[..., 0, 0] - high, H[..., 0, 1]), -1)
    second = torch.stack((H[..., 0, 1], H[..., 1, 1] - high), -1)
    longer = (norm(first) > norm(second))[..., None]
    return unit(torch.where(longer, first, second))


def _newton(g: Tensor, H: Tensor, x: Tensor) -> Tensor:
    """x − H⁺ g, flat directions left out, the step at most 0.5."""
    low, high = planar_eigenvalues(H)
    v = _axis(H, high)
    w = torch.stack((-v[..., 1], v[..., 0]), -1)
    floor = _FLAT * torch.maximum(low.abs(), high.abs())
    step = _part(g, v, low, floor) + _part(g, w, high, floor)
    length = norm(step)
    return x - step * torch.where(length > _LONGEST, _LONGEST / length, torch.ones_like(length))[..., None]


def _part(g: Tensor, axis: Tensor, lam: Tensor, floor: Tensor) -> Tensor:
    steep = lam.abs() > floor
    inverse = torch.where(steep, 1 / torch.where(steep, lam, torch.ones_like(lam)), torch.zeros_like(lam))
    return ((g * axis).sum(-1) * inverse)[..., None] * axis


# ----------------------------------------------------------------- closed forms: no landscape but its curvatures
def _radius(family: str, v: Values) -> Tensor:
    if family == "sgd":
        return 0 * v["rho"]
    return formulas.effective_rho(v["rho"], v["sigma"], 2) if family == "sam" else v["rho"]  # pyright: ignore


def _exit(family: str) -> NamedFunction:
    coefficients = formulas.sam_axis_coefficients if family == "sam" else formulas.usam_axis_coefficients

    def cell(v: Values, x: Tensor) -> list[Tensor]:
        mu, y, h, U, T = x.unbind(-1)
        rho = 0 * v["rho"] if family == "sgd" else v["rho"]
        b, a = coefficients(y, mu=mu, eta=v["eta"], rho=rho, sigma=v["sigma"])
        return list(formulas.exit_step(b, torch.as_tensor(a), h, U, T))

    return cell


def _limit(family: str) -> NamedFunction:
    return lambda v, x: [formulas.stability_limit(x[..., 0], _radius(family, v))]


def _spread(family: str) -> NamedFunction:
    def moment(v: Values, x: Tensor) -> list[Tensor]:
        square, lam = x.unbind(-1)
        return [formulas.usam_second_moment(square, lam, eta=v["eta"], rho=_radius(family, v), sigma=v["sigma"])]

    return moment


def _stationary(family: str) -> NamedFunction:
    def level(v: Values, x: Tensor) -> list[Tensor]:
        form = formulas.sam_stationary_level if family == "sam" else formulas.usam_stationary_level
        rho = 0 * v["rho"] if family == "sgd" else v["rho"]
        return [form(x, eta=v["eta"], rho=rho, sigma=v["sigma"])]

    return level


def _usam_critical(v: Values, x: Tensor) -> list[Tensor]:
    return [usam_critical_rho(1.0) / x[..., 0]]


def _sam_critical(v: Values, x: Tensor) -> list[Tensor]:
    return [sam_critical_rho(1.0, sigma=1.0, d=2) * v["sigma"] / x[..., 0]]


def _rows(*columns: float) -> Tensor:
    """Five points about positive numbers."""
    return torch.tensor([[c * (1 + 0.1 * k) for c in columns] for k in range(5)], dtype=torch.float64)


FORMULAS: Mapping[str, tuple[NamedFunction, Tensor]] = {
    **{f"{name}/exit": (_exit(name), _rows(1.0, 0.3, 0.01, 2.0, 0.4)) for name in ("sgd", "usam", "sam")},
    **{f"{name}/limit": (_limit(name), _rows(1.5)) for name in ("sgd", "usam", "sam")},
    **{f"{name}/spread": (_spread(name), _rows(0.4, -1.0)) for name in ("sgd", "usam", "sam")},
    **{f"{name}/stationary": (_stationary(name), _rows(1.0, 2.0)) for name in ("sgd", "usam", "sam")},
    "usam/critical": (_usam_critical, _rows(1.0)),
    "sam/critical": (_sam_critical, _rows(1.0)),
}
