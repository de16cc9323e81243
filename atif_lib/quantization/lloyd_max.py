r"""How good a staircase with T + 1 levels can be: Lloyd-Max quantizers, and the ladder of what lies below them.

The signal is ReLU(i). Its noise depends on the density f of the current over positive inputs only, through the moments
:math:`M_j(x) = \int_0^x u^j f(u)\, du`, j = 0, 1, 2. A :class:`Density` is these three functions.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize, special

from atif_lib import checks
from atif_lib.quantization.uniform import Optimum

__all__ = [
    "GAUSSIAN",
    "LAPLACE",
    "Density",
    "best_uniform",
    "empirical",
    "from_pdf",
    "ladder",
    "ladder_facts",
    "lloyd_max",
    "lloyd_max_free",
    "lloyd_max_samples",
    "sqnr",
]

Array = NDArray[np.float64]


class Density(NamedTuple):
    """Moments 0, 1, 2 over [0, x] as a function of x, shape [n] to [3, n]; and the scale of x, to start searches."""

    moments: Callable[[Array], Array]
    scale: float


def _gaussian(x: Array) -> Array:
    """Integrate the standard normal density in closed form."""
    mass = special.ndtr(x) - 0.5
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return np.stack([mass, 1 / math.sqrt(2 * math.pi) - density, mass - np.where(np.isinf(x), 0, x) * density])


def _laplace(x: Array) -> Array:
    """Integrate the Laplace density of unit variance in closed form: exponential, rate sqrt(2), on each side."""
    rate = math.sqrt(2)
    tail, u = np.exp(-rate * x), np.where(np.isinf(x), 0, rate * x)
    return np.stack([1 - tail, (1 - (1 + u) * tail) / rate, 1 - (1 + u + u**2 / 2) * tail]) / 2


GAUSSIAN = Density(_gaussian, 1.0)
LAPLACE = Density(_laplace, 1.0)


def from_pdf(pdf: Callable[[float], float], scale: float = 1.0) -> Density:
    """Make a density from its function on positive inputs, by quadrature; ``scale`` is where most of it lies."""

    def moment(j: int, x: float) -> float:
        return integrate.quad(lambda u: u**j * pdf(u), 0, x, epsabs=1e-12, limit=200)[0]

    return Density(lambda x: np.array([[moment(j, u) for u in np.atleast_1d(x)] for j in range(3)]), scale)


def empirical(samples: ArrayLike) -> Density:
    """Take currents as they were measured, such as the pre-activations of a trained network; any shape."""
    x = np.asarray(samples, dtype=np.float64).ravel()
    kept = np.sort(x[x > 0])
    if not len(kept) or not np.isfinite(x).all():
        raise ValueError(f"samples with {len(kept)} positive of {x.size}; allowed: finite numbers, some positive")
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum([kept**0, kept, kept**2], axis=1)], axis=1) / x.size
    return Density(lambda edges: sums[:, np.searchsorted(kept, edges)], float(np.sqrt((kept**2).mean())))


def _cells(density: Density, transitions: Array) -> Array:
    """Moments of x = ReLU(i) for i below t_1, in [t_1, t_2), ..., from t_T on, shape [3, T + 1]."""
    cells = np.diff(density.moments(np.concatenate([[0.0], transitions, [np.inf]])))
    cells[0, 0] += 1 - cells[0].sum()  # all currents that are not positive
    return cells


def sqnr(density: Density, transitions: ArrayLike, levels: ArrayLike) -> float:
    """SQNR in dB of a staircase, by exact moments.

    Args:
        density: of the current.
        transitions: increasing, positive, shape [T].
        levels: above each of them, shape [T], and 0 below the first; or shape [T + 1], beginning with the level below
            the first, which answers all currents that are not positive too.

    Source: Eq. 8; equals :func:`atif_lib.quantization.gaussian_sqnr_db` on ``GAUSSIAN``.
    """
    mass, first, second = _cells(density, np.asarray(transitions))
    outputs = np.concatenate([np.zeros(len(mass) - np.size(levels)), levels])
    noise = (second - 2 * outputs * first + outputs**2 * mass).sum()
    return 10 * math.log10(second.sum() / noise) if noise > 0 else math.inf


def lloyd_max(density: Density, timesteps: int, zero: bool = True) -> Optimum:
    r"""Solve for the quantizer of least mean square error with T positive levels, beside 0.

    .. math:: t_k = \tfrac12 (\ell_{k-1} + \ell_k), \qquad \ell_k = E[x \mid t_k \le x < t_{k+1}]

    These 2 T equations are necessary; for a log-concave density, as Gaussian and Laplace are, their solution is unique
    and the optimum. They are solved to rounding by Newton's method, from the quantiles of :math:`f^{1/3}`.

    With ``zero`` the levels :math:`\pm\ell_k` and 0 are the best 2 T + 1 levels for the whole symmetric density,
    without it :math:`\pm\ell_k` the best 2 T: Max's table has both.

    Args:
        density: log-concave on positive inputs; for measured currents use :func:`lloyd_max_samples`.
        timesteps: T.
        zero: whether 0 is a level too; else the first cell starts at 0 and transition 1 is 0.

    Returns:
        Transitions and levels, float64 arrays [T], and the SQNR in dB.

    Raises:
        RuntimeError: no solution was found.

    Source: Max (1960), Lloyd (1982).
    """
    timesteps = checks.integer("timesteps", timesteps)

    def edges(levels: Array) -> Array:
        return (np.concatenate([[0.0 if zero else -levels[0]], levels[:-1]]) + levels) / 2

    def residual(gaps: Array) -> Array:
        levels = np.cumsum(np.exp(gaps))
        mass, first, _ = _cells(density, edges(levels))[:, 1:]
        return levels - first / np.maximum(mass, 1e-300)

    quantiles = special.ndtri(0.5 + np.arange(1, timesteps + 1) / (2 * timesteps + 2)) * density.scale * math.sqrt(3)
    found = optimize.root(residual, np.log(np.diff(quantiles, prepend=0.0)), tol=1e-13)
    if np.abs(residual(found.x)).max() > 1e-8 * density.scale:
        raise RuntimeError(f"no Lloyd-Max quantizer found for timesteps={timesteps}: {found.message}")
    levels = np.cumsum(np.exp(found.x))
    return Optimum(edges(levels), levels, sqnr(density, edges(levels), levels))


def lloyd_max_free(density: Density, timesteps: int) -> Optimum:
    r"""Solve for the quantizer of x = ReLU(i) with T + 1 free levels: the lowest need not be 0.

    It is the mean of the first cell, which holds all currents that are not positive:
    :math:`\ell_0 = E[\mathrm{ReLU}(i) \mid i < t_1]`. The other conditions are those of :func:`lloyd_max`, from whose
    solution Newton's method starts.

    Returns:
        Transitions [T], levels [T + 1], and the SQNR in dB.
    """

    def levels(gaps: Array) -> Array:
        mass, first, _ = _cells(density, np.cumsum(np.exp(gaps)))
        return first / np.maximum(mass, 1e-300)

    def residual(gaps: Array) -> Array:
        return np.cumsum(np.exp(gaps)) - (levels(gaps)[:-1] + levels(gaps)[1:]) / 2

    start = lloyd_max(density, timesteps).transitions
    found = optimize.root(residual, np.log(np.diff(start, prepend=0.0)), tol=1e-13)
    if np.abs(residual(found.x)).max() > 1e-8 * density.scale:
        raise RuntimeError(f"no quantizer with free levels found for timesteps={timesteps}: {found.message}")
    transitions = np.cumsum(np.exp(found.x))
    return Optimum(transitions, levels(found.x), sqnr(density, transitions, levels(found.x)))


def lloyd_max_samples(samples: ArrayLike, timesteps: int) -> Optimum:
    """Find the best T positive levels beside 0 for measured currents: the global optimum, by dynamic programming.

    The best cells are runs of the sorted values. With n distinct positive ones this takes T n^2 additions and
    comparisons, n at most 5000.

    Args:
        samples: currents, any shape; the noise is that of their positive part.
        timesteps: T, not more than there are distinct positive values.

    Raises:
        ValueError: too many or too few distinct positive values.

    Source: Wang and Song (2011), with one level held at 0.
    """
    timesteps = checks.integer("timesteps", timesteps)
    values, weights = np.unique(np.asarray(samples, dtype=np.float64), return_counts=True)
    values, weights = values[values > 0], weights[values > 0]
    n = len(values)
    if not timesteps <= n <= 5000:
        raise ValueError(f"samples with {n} distinct positive values; allowed: {timesteps} to 5000; draw fewer of them")
    m0, m1, m2 = np.concatenate([np.zeros((3, 1)), np.cumsum([weights, weights * values, weights * values**2], 1)], 1)
    cost, cuts = m2, []  # the first j values at level 0
    for _ in range(timesteps):
        best, where = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=int)
        for j in range(1, n + 1):  # a last cell of the values from m on, up to the j-th
            cell = m2[j] - m2[:j] - (m1[j] - m1[:j]) ** 2 / (m0[j] - m0[:j])
            where[j] = np.argmin(cost[:j] + cell)
            best[j] = cost[where[j]] + cell[where[j]]
        cost = best
        cuts.append(where)
    ends = [n]
    for where in reversed(cuts):
        ends.insert(0, int(where[ends[0]]))
    levels = np.diff(m1[ends]) / np.diff(m0[ends])
    middles = (np.concatenate([[0.0], levels[:-1]]) + levels) / 2
    return Optimum(middles, levels, sqnr(empirical(samples), middles, levels))


def ladder(density: Density, timesteps: int) -> dict[str, Optimum]:
    r"""Find the best staircase of each family; all below Lloyd-Max have one free number, found by a bounded search.

    With a step :math:`\Delta = V_{th} / T`: uniform steps at :math:`k\Delta` with outputs :math:`k\Delta`; the same
    from a half-step start, at :math:`(k - \frac12)\Delta`; steps at :math:`k\Delta` with outputs :math:`g k\Delta`,
    where the best g has a closed form; and free steps with output rate times :math:`p_1`, of which only the last is
    tied, :math:`p_1 = T\Delta`, and the others belong in the middle between outputs. Last, both starts with outputs
    :math:`g k\Delta + b`, k from 0: gain and offset are those of the regression of x on the count. A next layer with
    weights and a bias has both for nothing.
    """
    k = np.arange(1.0, checks.integer("timesteps", timesteps) + 1)
    tied = np.append(k[:-1] - 0.5, k[-1])
    count = np.append(0.0, k)

    def affine(transitions: Array) -> Array:
        mass, first, _ = _cells(density, transitions)
        mean, target = (count * mass).sum(), first.sum()
        slope = ((count * first).sum() - mean * target) / ((count**2 * mass).sum() - mean**2)
        return target + slope * (count - mean)

    def gain(step: float) -> float:
        mass, first, _ = _cells(density, k * step)[:, 1:]
        return float((k * first).sum() / (k**2 * mass).sum())

    rungs: dict[str, Callable[[float], tuple[Array, Array]]] = {
        "non-uniform, rate · p1": lambda step: (tied * step, k * step),
        "uniform, decode gain": lambda step: (k * step, k * gain(step)),
    }
    best = {name: _best(density, family, timesteps) for name, family in rungs.items()}
    return {
        "uniform": best_uniform(density, timesteps),
        **best,
        "uniform, half-step start": best_uniform(density, timesteps, 0.5),
        "uniform, affine decode": _best(density, lambda d: (k * d, affine(k * d)), timesteps),
        "half-step start, affine decode": _best(density, lambda d: ((k - 0.5) * d, affine((k - 0.5) * d)), timesteps),
    }


def best_uniform(density: Density, timesteps: int, v0: float = 0.0) -> Optimum:
    """Find the best uniform staircase of a neuron that starts at ``v0`` of its threshold; that is the last level."""
    k = np.arange(1.0, checks.integer("timesteps", timesteps) + 1)
    return _best(density, lambda step: ((k - v0) * step, k * step), timesteps)


def _best(density: Density, family: Callable[[float], tuple[Array, Array]], timesteps: int) -> Optimum:
    """Search a grid of steps, then between the neighbours of the best."""
    grid = density.scale * np.geomspace(0.2, 5, 60) / timesteps**0.75
    values = [sqnr(density, *family(step)) for step in grid]
    best = int(np.clip(np.argmax(values), 1, len(grid) - 2))
    found = optimize.minimize_scalar(
        lambda step: -sqnr(density, *family(step)), bounds=(grid[best - 1], grid[best + 1]), options={"xatol": 1e-9}
    )
    return Optimum(*family(found.x), float(-found.fun))


def ladder_facts(largest: int = 16) -> dict[str, list[float]]:
    """Return the SQNR of every rung for T = 1 ... ``largest``, Gaussian and Laplace (`limits-ladder`)."""
    facts: dict[str, list[float]] = {}
    for prefix, density in {"": GAUSSIAN, "laplace_": LAPLACE}.items():
        for timesteps in range(1, largest + 1):
            best = ladder(density, timesteps)
            dbs = {name: o.sqnr_db for name, o in best.items()} | {"Lloyd-Max": lloyd_max(density, timesteps).sqnr_db}
            dbs["Lloyd-Max, all levels free"] = lloyd_max_free(density, timesteps).sqnr_db
            dbs["half step over uniform"] = dbs["uniform, half-step start"] - dbs["uniform"]
            dbs["half step over uniform, affine"] = (
                dbs["half-step start, affine decode"] - dbs["uniform, affine decode"]
            )
            dbs["Lloyd-Max over half step"] = dbs["Lloyd-Max"] - dbs["uniform, half-step start"]
            for name, db in dbs.items():
                facts.setdefault(prefix + re.sub(r"\W+", "_", name.lower()) + "_db", []).append(db)
    return facts
