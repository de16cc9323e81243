r"""The exact SQNR of a staircase, without sampling: from the moments of the density of the current.

The signal is ReLU(i). Its noise depends on the density :math:`\varphi` of the current over positive inputs alone, by
the moments :math:`M_j(x) = \int_0^x u^j \varphi(u)\, du`, j = 0, 1, 2. A :class:`Density` is these three functions.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from scipy import optimize
from torch import Tensor

from atif_lib.quantization.uniform import check_pair

__all__ = [
    "GAUSSIAN",
    "LAPLACE",
    "Density",
    "Optimum",
    "cells",
    "empirical",
    "gaussian_sqnr_db",
    "maximise_sqnr",
    "sqnr",
]


class Density(NamedTuple):
    """Moments 0, 1, 2 over [0, x] as a function of x, shape [*] to [3, *]; and the scale of x, to start searches."""

    moments: Callable[[Tensor], Tensor]
    scale: float


def _gaussian(x: Tensor) -> Tensor:
    """Integrate the standard normal density in closed form."""
    mass = torch.special.ndtr(x) - 0.5
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return torch.stack([mass, 1 / math.sqrt(2 * math.pi) - density, mass - torch.where(x.isinf(), 0, x) * density])


def _laplace(x: Tensor) -> Tensor:
    """Integrate the Laplace density of unit variance in closed form: exponential, rate sqrt(2), on each side."""
    rate = math.sqrt(2)
    tail, u = torch.exp(-rate * x), torch.where(x.isinf(), 0, rate * x)
    return torch.stack([1 - tail, (1 - (1 + u) * tail) / rate, 1 - (1 + u + u**2 / 2) * tail]) / 2


GAUSSIAN = Density(_gaussian, 1.0)
LAPLACE = Density(_laplace, 1.0)


def empirical(samples: ArrayLike | Tensor) -> Density:
    """Take currents as they were measured, such as the pre-activations of a trained network; any shape.

    Raises:
        ValueError: none is positive, or one is not finite.
    """
    samples = samples.detach().cpu() if isinstance(samples, Tensor) else samples
    x = torch.as_tensor(samples, dtype=torch.float64).flatten()
    kept = x[x > 0].sort().values
    if not len(kept) or not x.isfinite().all():
        raise ValueError(f"samples with {len(kept)} positive of {len(x)}; allowed: finite numbers, some positive")
    sums = torch.stack([torch.ones_like(kept), kept, kept**2]).cumsum(1)
    sums = torch.cat([sums.new_zeros(3, 1), sums], 1) / len(x)
    return Density(lambda edges: sums[:, torch.searchsorted(kept, edges.double())], (kept**2).mean().sqrt().item())


def cells(density: Density, transitions: Tensor) -> Tensor:
    """Return the moments of x = ReLU(i) for i below t_1, in [t_1, t_2), ..., from t_T on: [*, T] to [3, *, T + 1]."""
    one = transitions.new_ones(*transitions.shape[:-1], 1)
    found = density.moments(torch.cat([0 * one, transitions, math.inf * one], -1)).diff()
    rest = torch.zeros_like(found)
    rest[0, ..., 0] = 1 - found[0].sum(-1)  # all currents that are not positive
    return found + rest


def sqnr(density: Density, transitions: Tensor, levels: Tensor) -> Tensor:
    """SQNR in dB of staircases, by exact moments. Differentiable for the densities in closed form.

    Args:
        density: of the current.
        transitions: increasing, positive, shape [*, T].
        levels: above each of them, shape [*, T], and 0 below the first; or shape [*, T + 1], beginning with the level
            below the first, which answers all currents that are not positive too.

    Returns:
        dB, shape [*]; ``inf`` for a staircase without error.

    Source: Eq. 8.
    """
    mass, first, second = cells(density, transitions)
    missing = mass.shape[-1] - levels.shape[-1]
    outputs = torch.cat([levels.new_zeros(*levels.shape[:-1], missing), levels], -1)
    noise = (second - 2 * outputs * first + outputs**2 * mass).sum(-1).clamp(min=0)
    return 10 * torch.log10(second.sum(-1) / noise)


def gaussian_sqnr_db(transitions: Tensor, levels: Tensor, sigma: float = 1.0) -> Tensor:
    r"""Exact SQNR of a staircase quantizer for the positive part of a Gaussian, without sampling.

    The quantizer answers 0 below ``transitions[0]`` and ``levels[k]`` from ``transitions[k]`` up to the next one.
    With :math:`i \sim N(0, \sigma^2)` and :math:`x = \mathrm{ReLU}(i)` the noise is a sum of truncated Gaussian
    moments. Differentiable in both arguments.

    Args:
        transitions: increasing inputs of 0 or more at which the output steps up, shape [T].
        levels: outputs above each of them, shape [T], in the unit of ``sigma``.
        sigma: standard deviation of the input current.

    Returns:
        dB, a scalar.

    Raises:
        TypeError: ``transitions`` or ``levels`` is not a floating-point tensor.
        ValueError: one is empty or not finite, shapes differ, a transition is below 0, they are not in increasing
            order, or ``sigma`` is not positive.

    Source: Eqs 8 and 13, integrated in closed form by :func:`sqnr`.
    """
    dtype = check_pair(transitions, levels, ("transitions", "levels"))
    if transitions.dim() != 1 or not (transitions >= 0).all() or not (transitions.diff() >= 0).all():
        raise ValueError(f"transitions={transitions.tolist()}; allowed: 0 or more, increasing, of shape [T]")
    if not sigma > 0:
        raise ValueError(f"sigma={sigma}; allowed: a positive number")
    return sqnr(GAUSSIAN, transitions.double() / sigma, levels.double() / sigma).to(dtype)


class Optimum(NamedTuple):
    """The best staircase of a family: its transitions and levels, shape [T], and its SQNR in dB."""

    transitions: Tensor
    levels: Tensor
    sqnr_db: float


def maximise_sqnr(
    staircase_of: Callable[[Tensor], tuple[Tensor, Tensor]], guess: Sequence[float], sigma: float = 1.0
) -> Optimum:
    """Find the staircase of a family that has the highest SQNR on the positive part of a Gaussian.

    The optimum of Eq. 13 without sampling or surrogate: what learning should reach.

    Args:
        staircase_of: maps free parameters, shape [P], to transitions and levels; differentiable. Any real numbers must
            give a staircase (``w.exp()`` makes a positive one), for the search tries many.
        guess: the parameters to start from; a local optimum is found (BFGS on the exact integral).
        sigma: standard deviation of the input current.

    Returns:
        The optimum, float64.
    """

    def loss(parameters: Sequence[float]) -> tuple[float, list[float]]:
        w = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        value = -gaussian_sqnr_db(*staircase_of(w), sigma)
        return value.item(), torch.autograd.grad(value, w)[0].tolist()

    found = optimize.minimize(loss, guess, jac=True, method="BFGS")
    transitions, levels = staircase_of(torch.tensor(found.x, dtype=torch.float64))
    return Optimum(transitions, levels, -found.fun)
