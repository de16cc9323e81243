"""What T thresholds can reach: the best spiking quantizers, by global search on exact staircases and integrals.

Not every staircase is some neuron's. Here the free numbers are the thresholds themselves (and V(0)), so that whatever
is found is realised.
"""

import math
from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

from atif_lib import checks
from atif_lib.limits import GAUSSIAN, lloyd_max
from atif_lib.neurons import ATIFnu
from atif_lib.staircases import count_staircase, order_thresholds, pattern_edges, patterns, realises

__all__ = ["DECODES", "Best", "best_realisable", "gaussian_noise", "late_thresholds", "realisable_facts", "shares"]

_FLOOR = 1e-9  # mass below which a pattern counts as absent: its mean would be rounding divided by rounding


class Best(NamedTuple):
    """A neuron found by search: thresholds, shape [T], V(0), both in units of sigma, and its SQNR in dB."""

    thresholds: Tensor
    start: float
    sqnr_db: float


def _explained(moment: Tensor, mass: Tensor) -> Tensor:
    """Power that the best free level of each cell explains."""
    return (moment.square() / mass.clamp(min=_FLOOR)).sum(-1)


def _rate_p1(mass: Tensor, moment: Tensor, thresholds: Tensor, z: Tensor) -> Tensor:
    level = z.sum(-1) * thresholds[..., :1] / z.shape[1]
    return (2 * level * moment - level.square() * mass).sum(-1)


def _gain(mass: Tensor, moment: Tensor, thresholds: Tensor, z: Tensor) -> Tensor:
    count = z.sum(-1)
    return (count * moment).sum(-1).square() / (count.square() * mass).sum(-1).clamp(min=_FLOOR)


def _levels(mass: Tensor, moment: Tensor, thresholds: Tensor, z: Tensor) -> Tensor:
    groups = (z.sum(-1, keepdim=True) == torch.arange(1, z.shape[1] + 1)).double()
    return _explained(moment @ groups, mass @ groups)


def _weights(mass: Tensor, moment: Tensor, thresholds: Tensor, z: Tensor) -> Tensor:
    gram = torch.einsum("...j,jt,ju->...tu", mass, z, z) + 1e-12 * torch.eye(z.shape[1], dtype=z.dtype)
    target = moment @ z
    return (target * torch.linalg.solve(gram, target)).sum(-1)


def _patterns(mass: Tensor, moment: Tensor, thresholds: Tensor, z: Tensor) -> Tensor:
    return _explained(moment[..., 1:], mass[..., 1:])


DECODES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "rate_p1": _rate_p1,
    "gain": _gain,
    "levels": _levels,
    "weights": _weights,
    "patterns": _patterns,
}
"""How spikes become an estimate: count times V(1) / T, count times a free gain, a free level for each count, a free
weight for each timestep, a free level for each pattern. No spike is decoded as 0 in all of them."""


def gaussian_noise(thresholds: Tensor, start: Tensor, decode: str) -> Tensor:
    r"""Exact mean square error of neurons on :math:`x = \mathrm{ReLU}(i)`, i standard normal, at the decode's best.

    Args:
        thresholds: shape [*, T].
        start: V(0), shape [*], in the unit of the thresholds.
        decode: one of ``DECODES``.

    Returns:
        The error, shape [*]; of a power of one half. Differentiable almost everywhere.
    """
    if decode not in DECODES:
        raise ValueError(f"decode must be one of {', '.join(DECODES)}, got {decode!r}")
    edges = pattern_edges(thresholds, start).clamp(-12, 12)
    mass = torch.special.ndtr(edges).diff()  # a spike for a negative input is an error too
    moment = -(torch.exp(-edges.clamp(min=0).square() / 2) / math.sqrt(2 * math.pi)).diff()
    return 0.5 - DECODES[decode](mass, moment, thresholds, patterns(thresholds.shape[-1]))


def best_realisable(
    timesteps: int, decode: str, free_start: bool = False, restarts: int = 256, steps: int = 300, seed: int = 0
) -> Best:
    """Search for the best thresholds: Adam on the exact error from many random starts at once.

    Args:
        timesteps: T.
        decode: one of ``DECODES``.
        free_start: whether V(0), between 0 and the first threshold, is searched too; else it is 0.
        restarts: random starts.
        steps: updates of each.
        seed: of the starts.

    Returns:
        The best found: a lower bound of what is possible.
    """
    timesteps, generator = checks.integer("timesteps", timesteps), torch.Generator().manual_seed(seed)
    log_thresholds = 3 * torch.rand(restarts, timesteps, generator=generator, dtype=torch.float64) - 1.3
    fraction = 2 * torch.randn(restarts, 1, generator=generator, dtype=torch.float64)
    w = torch.cat([log_thresholds, fraction], 1).requires_grad_()

    def neurons() -> tuple[Tensor, Tensor]:
        thresholds = w[:, :-1].clamp(max=2.5).exp()
        return thresholds, thresholds[:, 0] * (w[:, -1].sigmoid() if free_start else 0.0)

    optimizer = torch.optim.Adam([w], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = Best(torch.empty(0), 0.0, -math.inf)
    for _ in range(steps):
        thresholds, start = neurons()
        noise = gaussian_noise(thresholds, start, decode)
        least = int(noise.argmin())
        db = 10 * math.log10(0.5 / noise[least].item())
        if db > best.sqnr_db:
            best = Best(thresholds[least].detach().clone(), start[least].item(), db)
        optimizer.zero_grad()
        noise.log().sum().backward()
        w.grad.nan_to_num_(0.0)
        optimizer.step()
        schedule.step()
    return best


def late_thresholds(p: Tensor, form: str) -> Tensor:
    """Return the thresholds that the paper's equations give for intended transitions p_1 > ... > p_T, shape [n, T]."""
    neuron = ATIFnu(p.shape[1], torch.ones(len(p), dtype=p.dtype), form=form)
    neuron.log_steps.data = (p - torch.cat([p[:, 1:], p.new_zeros(len(p), 1)], 1)).log().T
    return neuron.thresholds.detach().T


def shares(timesteps: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Return the percentage of random ordered p that are realised exactly: p are sorted uniform numbers from [0, 1].

    By the telescoping form, by the printed one (T = 4), and by any order of the timesteps; and how often the count
    never falls.
    """
    timesteps, generator = checks.integer("timesteps", timesteps), torch.Generator().manual_seed(seed)
    p = torch.rand(draws, timesteps, generator=generator, dtype=torch.float64).sort(descending=True).values
    transitions, found = p.flip(1), {}
    for form in ("telescoping", "printed")[: 2 if timesteps == 4 else 1]:
        thresholds = late_thresholds(p, form)
        found[f"{form}_exact"] = realises(thresholds, transitions)
        found[f"{form}_monotone"] = count_staircase(thresholds).monotone
    found["any_order"] = torch.zeros(draws, dtype=torch.bool)
    for order in permutations(range(1, timesteps + 1)):
        thresholds = order_thresholds(transitions, order)
        found["any_order"] |= (thresholds > 0).all(1) & realises(thresholds, transitions)
    return {name: 100 * share.double().mean().item() for name, share in found.items()}


def realisable_facts(largest: int = 8) -> dict[str, object]:
    """Return the best SQNR for T = 1 ... ``largest`` of each decode, its thresholds, and the shares of random p.

    The record `limits-realisable`; minutes.
    """
    facts: dict[str, object] = {"lloyd_max_db": [lloyd_max(GAUSSIAN, t).sqnr_db for t in range(1, largest + 1)]}
    for decode in DECODES:
        for suffix, free in (("", False), ("_free_start", True)):
            best = [best_realisable(t, decode, free, restarts=512, steps=600) for t in range(1, largest + 1)]
            facts[f"{decode}{suffix}_db"] = [b.sqnr_db for b in best]
            facts[f"{decode}{suffix}_thresholds"] = [b.thresholds.tolist() for b in best]
            facts[f"{decode}{suffix}_start"] = [b.start for b in best]
    gap = zip(facts["lloyd_max_db"], facts["levels_db"], strict=True)
    facts["largest_gap_db"] = max(limit - reached for limit, reached in gap)
    for timesteps, draws in ((2, 200_000), (3, 200_000), (4, 200_000), (5, 20_000)):
        facts[f"shares_t{timesteps}"] = shares(timesteps, draws)
    return facts
