"""How much variance coupling saves: Var f(x_K) + Var f(X_T) of independent runs over Var (f(x_K) − f(X_T)) on one path.

    python benchmarks/coupling.py [--n 4000]

The quadratic f = ½ xᵀ diag(1, 2) x, sigma = 0.5, from (1, 1), and the tanh network, sigma = 0.3, from (1, 1.2); T = 1,
rho = √eta.
"""

import argparse
from functools import partial

import torch

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23

PROBLEMS = {
    "quadratic": (ss.Quadratic(torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))), 0.5, [1.0, 1.0]),
    "tanh network": (ss.TanhNetwork(), 0.3, [1.0, 1.2]),
}
UPDATES = {"SGD": ss.sgd, "USAM": ss.usam, "SAM": ss.sam}


def ratio(f, sigma, x0, update, eta, n):
    """Variance of the independent difference over that of the coupled one, at T = 1."""
    g, G = ss.GaussianOracle(f, sigma), partial(update, rho=eta**0.5)
    model = mc23.sam_factored_sde(g, eta=eta, rho=eta**0.5) if update is ss.sam else model_of(G, g, eta)
    kernel = ss.coupled(ss.optimizer(G, g, eta), ss.subcycle(ss.small_noise_srk(model, eta / 4), 4))
    phis = {"gap": ss.difference(f), "chain": ss.of_member(f, 0), "sde": ss.of_member(f, 1)}
    moments = ss.simulate(kernel, x0, steps=round(1 / eta), observables=phis, n=n, save_every=round(1 / eta))
    gap, chain, sde = (float(moments.estimate(name).stderr[-1]) ** 2 for name in phis)
    return (chain + sde) / gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    n = parser.parse_args().n
    etas = [2.0**-3, 2.0**-5, 2.0**-8]
    print(f"{'':<22}" + "".join(f"eta = 2^-{k}".rjust(14) for k in (3, 5, 8)) + f"   (n = {n})")
    for name, problem in PROBLEMS.items():
        for method, update in UPDATES.items():
            row = [ratio(*problem, update, eta, n) for eta in etas]
            print(f"{name + ', ' + method:<22}" + "".join(f"{r:14.3g}" for r in row))


if __name__ == "__main__":
    main()
