"""Lloyd-Max quantizers: the best levels and transitions there are, for a density or for measured currents."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from torch import Tensor

from atif_lib import checks
from atif_lib.quantization.density import Density, Optimum, cells, empirical, sqnr

__all__ = ["lloyd_max", "lloyd_max_free", "lloyd_max_samples"]


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
        Transitions and levels, float64 [T], and the SQNR in dB.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more.
        RuntimeError: no solution was found.

    Source: Max (1960), Lloyd (1982).
    """
    timesteps = checks.integer("timesteps", timesteps)

    def edges(levels: Tensor) -> Tensor:
        lowest = levels.new_zeros(1) if zero else -levels[:1]
        return (torch.cat([lowest, levels[:-1]]) + levels) / 2

    def residual(levels: Tensor) -> Tensor:
        mass, first, _ = cells(density, edges(levels))[:, 1:]
        return levels - first / mass.clamp(min=1e-300)

    places = 0.5 + torch.arange(1, timesteps + 1, dtype=torch.float64) / (2 * timesteps + 2)
    quantiles = torch.special.ndtri(places) * density.scale * math.sqrt(3)
    levels = _root(residual, quantiles, density.scale)
    return Optimum(edges(levels), levels, sqnr(density, edges(levels), levels).item())


def lloyd_max_free(density: Density, timesteps: int) -> Optimum:
    r"""Solve for the quantizer of x = ReLU(i) with T + 1 free levels: the lowest need not be 0.

    It is the mean of the first cell, which holds all currents that are not positive:
    :math:`\ell_0 = E[\mathrm{ReLU}(i) \mid i < t_1]`. The other conditions are those of :func:`lloyd_max`, from whose
    solution Newton's method starts.

    Args:
        density: as for :func:`lloyd_max`.
        timesteps: T.

    Returns:
        Transitions [T], levels [T + 1], and the SQNR in dB.

    Raises:
        ValueError, RuntimeError: as for :func:`lloyd_max`.
    """

    def levels(transitions: Tensor) -> Tensor:
        mass, first, _ = cells(density, transitions)
        return first / mass.clamp(min=1e-300)

    def residual(transitions: Tensor) -> Tensor:
        found = levels(transitions)
        return transitions - (found[:-1] + found[1:]) / 2

    transitions = _root(residual, lloyd_max(density, timesteps).transitions, density.scale)
    return Optimum(transitions, levels(transitions), sqnr(density, transitions, levels(transitions)).item())


def _root(residual: Callable[[Tensor], Tensor], guess: Tensor, scale: float) -> Tensor:
    """Solve residual(x) = 0 for increasing positive x, shape [n]; what is solved for are the logarithms of the gaps."""

    def increasing(gaps: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.exp(gaps)).cumsum(0)

    gaps = guess.diff(prepend=guess.new_zeros(1)).log()
    found = optimize.root(lambda gaps: residual(increasing(gaps)).numpy(), gaps.numpy(), tol=1e-13)
    solution = increasing(found.x)
    if not residual(solution).abs().max() <= 1e-8 * scale:  # NaN is no solution
        raise RuntimeError(f"no quantizer found for T = {len(guess)}: {found.message}")
    return solution


def lloyd_max_samples(samples: ArrayLike, timesteps: int) -> Optimum:
    """Find the best T positive levels beside 0 for measured currents: the global optimum, by dynamic programming.

    The best cells are runs of the sorted values. With n distinct positive ones this takes T n^2 additions and
    comparisons, n at most 5000.

    Args:
        samples: currents, any shape; the noise is that of their positive part.
        timesteps: T, not more than there are distinct positive values.

    Returns:
        Transitions and levels, float64 [T], and the SQNR in dB.

    Raises:
        ValueError: too many or too few distinct positive values, a value that is not finite, or ``timesteps`` is no
            integer of 1 or more.

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
    levels = torch.from_numpy(np.diff(m1[ends]) / np.diff(m0[ends]))
    middles = (torch.cat([levels.new_zeros(1), levels[:-1]]) + levels) / 2
    return Optimum(middles, levels, sqnr(empirical(samples), middles, levels).item())
