r"""The ladder of staircases: families by name, of which each has one free number, its step.

With a step :math:`\Delta = V_{th} / T` and k = 1 ... T (from 0 with an affine decode):

==============================  =====================================  =====================
family                          steps up at                            output
==============================  =====================================  =====================
uniform                         :math:`k\Delta`                        :math:`k\Delta`
non-uniform, rate · p1          the middles, the last :math:`T\Delta`  :math:`k\Delta`
uniform, decode gain            :math:`k\Delta`                        :math:`g k\Delta`
uniform, half-step start        :math:`(k - \frac12)\Delta`            :math:`k\Delta`
uniform, affine decode          :math:`k\Delta`                        :math:`g k\Delta + b`
half-step start, affine decode  :math:`(k - \frac12)\Delta`            :math:`g k\Delta + b`
==============================  =====================================  =====================

In the second, ATIF-nu, only the last step is tied, to the output of all T spikes; the others belong in the middle
between two outputs. The best gain and offset have a closed form: those of the regression of the signal on the count. A
next layer with weights and a bias has both for nothing.
"""

from collections.abc import Callable

import torch
from scipy import optimize
from torch import Tensor

from atif_lib import checks
from atif_lib.quantization.density import Density, Optimum, cells, sqnr
from atif_lib.quantization.uniform import check_start

__all__ = ["FAMILIES", "Family", "affine_levels", "best_uniform", "ladder"]

Family = Callable[[Density, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a density, k = 1 ... T and steps of shape [*, 1] to transitions [*, T] and levels [*, T] or [*, T + 1]."""


def _uniform(v0: float) -> Family:
    return lambda density, k, step: ((k - v0) * step, k * step)


def _rate_p1(density: Density, k: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([k[:-1] - 0.5, k[-1:]]) * step, k * step


def _gain(density: Density, k: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    mass, first, _ = cells(density, k * step)[..., 1:]
    shared, power = (k * first).sum(-1, keepdim=True), (k**2 * mass).sum(-1, keepdim=True)
    return k * step, torch.where(power > 0, k * shared / power, k * step)  # no gain mends a count that is always 0


def _affine(v0: float) -> Family:
    def family(density: Density, k: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        transitions = (k - v0) * step
        return transitions, affine_levels(density, transitions)

    return family


def affine_levels(density: Density, transitions: Tensor) -> Tensor:
    """Return the best evenly spaced levels of a staircase: what a gain and an offset, both free, make of the count.

    Args:
        density: of the current.
        transitions: increasing, positive, shape [*, T].

    Returns:
        Levels, shape [*, T + 1], from that of no spike on: the regression of the signal ReLU(i) on the spike count.
        Where all currents have the same count they all are the mean of the signal.
    """
    count = torch.arange(transitions.shape[-1] + 1, dtype=transitions.dtype, device=transitions.device)
    mass, first, _ = cells(density, transitions)
    mean, target = (count * mass).sum(-1, keepdim=True), first.sum(-1, keepdim=True)
    shared = (count * first).sum(-1, keepdim=True) - mean * target
    spread = (count**2 * mass).sum(-1, keepdim=True) - mean**2
    return target + torch.where(spread > 0, shared / spread, 0) * (count - mean)


FAMILIES: dict[str, Family] = {
    "uniform": _uniform(0.0),
    "non-uniform, rate · p1": _rate_p1,
    "uniform, decode gain": _gain,
    "uniform, half-step start": _uniform(0.5),
    "uniform, affine decode": _affine(0.0),
    "half-step start, affine decode": _affine(0.5),
}


def ladder(density: Density, timesteps: int) -> dict[str, Optimum]:
    """Find the best staircase of each of ``FAMILIES``; what lies above them is Lloyd-Max.

    Args:
        density: of the current.
        timesteps: T.

    Returns:
        By name, transitions and levels, float64, and the SQNR in dB.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more.
    """
    return {name: _best(family, density, timesteps) for name, family in FAMILIES.items()}


def best_uniform(density: Density, timesteps: int, v0: float = 0.0) -> Optimum:
    """Find the best uniform staircase of a neuron that starts at ``v0`` of its threshold; that is the last level.

    A density of heavy tails may have more than one local optimum. The search takes the best of a grid of steps around
    the density's scale, and goes on to larger steps while these are better. The error on samples jumps with the step,
    so of an :func:`~atif_lib.quantization.density.empirical` density it finds a good staircase, not always the best: in
    trials it ended hundredths of a decibel below that up to T = 16, and up to three quarters at T = 64.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more, or ``v0`` is not in [0, 1].
    """
    return _best(_uniform(check_start(v0)), density, timesteps)


def _best(family: Family, density: Density, timesteps: int) -> Optimum:
    """Search a grid of steps, made longer while its best is in its upper half, then between the best's neighbours."""
    k = torch.arange(1, checks.integer("timesteps", timesteps) + 1, dtype=torch.float64)
    grid = density.scale * torch.logspace(-0.7, 0.7, 60, dtype=torch.float64) / timesteps**0.75

    def staircase(step: float) -> tuple[Tensor, Tensor]:
        return family(density, k, torch.tensor([step], dtype=torch.float64))

    while (best := int(sqnr(density, *family(density, k, grid.unsqueeze(1))).argmax())) >= len(grid) // 2:
        grid = torch.cat([grid, grid[1:] * grid[-1] / grid[0]])
    first, best = grid[best].item(), max(best, 1)
    found = optimize.minimize_scalar(
        lambda step: -sqnr(density, *staircase(step)).item(),
        bounds=(grid[best - 1].item(), grid[best + 1].item()),
        method="bounded",
        options={"xatol": 1e-9 * grid[best].item()},
    )
    # The error on samples jumps, so the search may end below where it began. SciPy declares no type for its result.
    steps = found.x, first  # pyright: ignore[reportAttributeAccessIssue]
    optima = [Optimum(*made, sqnr(density, *made).item()) for made in map(staircase, steps)]
    return max(optima, key=lambda optimum: optimum.sqnr_db)
