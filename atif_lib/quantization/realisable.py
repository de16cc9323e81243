"""What T thresholds can reach: the best spiking quantizers, by global search on exact staircases and integrals.

Not every staircase is some neuron's. Here the free numbers are the thresholds themselves (and V(0)), so that whatever
is found is realised.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from scipy.stats import qmc
from torch import Tensor

from atif_lib import checks
from atif_lib.quantization.chains import Chain, chains, order_chain, realised_by
from atif_lib.quantization.nonuniform import thresholds_from_transitions
from atif_lib.quantization.staircases import count_staircase, pattern_edges, patterns, realises

__all__ = [
    "CONTAINS",
    "DECODES",
    "Best",
    "best_of_families",
    "best_realisable",
    "gaussian_noise",
    "shares",
]

Array = NDArray[np.float64]
_SAME_DB = 1e-9  # less than this is no gain
_FLOOR = 1e-9  # mass below which a pattern counts as absent: its mean would be rounding divided by rounding


class Best(NamedTuple):
    """A neuron found by search: thresholds, shape [T], V(0), both in units of sigma; its SQNR in dB.

    ``hits`` is the number of searches from random numbers that ended within a thousandth of a decibel of it.
    """

    thresholds: Tensor
    initial: float
    sqnr_db: float
    hits: int = 0


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


def gaussian_noise(thresholds: Tensor, initial: Tensor, decode: str) -> Tensor:
    r"""Exact mean square error of neurons on :math:`x = \mathrm{ReLU}(i)`, i standard normal, at the decode's best.

    Args:
        thresholds: shape [*, T].
        initial: V(0), shape [*], in the unit of the thresholds.
        decode: one of ``DECODES``.

    Returns:
        The error, shape [*], in float64; of a power of one half. Differentiable almost everywhere.

    Raises:
        ValueError: another decode.
    """
    checks.choice("decode", decode, DECODES)
    thresholds = thresholds.double()
    edges = pattern_edges(thresholds, initial).clamp(-12, 12)
    mass = torch.special.ndtr(edges).diff()  # a spike for a negative input is an error too
    moment = -(torch.exp(-edges.clamp(min=0).square() / 2) / math.sqrt(2 * math.pi)).diff()
    return 0.5 - DECODES[decode](mass, moment, thresholds, patterns(thresholds.shape[-1]))


def best_realisable(
    timesteps: int,
    decode: str,
    free_initial: bool = False,
    *,
    guesses: Sequence[Best] = (),
    restarts: int = 2,
    population: int = 30,
    seed: int = 0,
) -> Best:
    """Search for the best thresholds: differential evolution on the exact error, several times, then its gradient.

    The error has many local minima, one for each set of patterns, so that no search can promise the best of all.

    Args:
        timesteps: T.
        decode: one of ``DECODES``.
        free_initial: whether V(0), between 0 and the first threshold, is searched too; else it is 0.
        guesses: neurons to begin with, such as the best of a poorer family; one with fewer timesteps gets further ones
            that never fire. What is found is at least as good as each of them under this decode.
        restarts: searches from random populations; one more, whose population holds the ``guesses``, if any.
        population: candidates of a search for each number that is free.
        seed: of the first search; the next ones have the next seeds.

    Returns:
        The best found, a lower bound of what is possible; ``hits`` says how many of the random searches ended
        there.

    Raises:
        ValueError: ``timesteps`` or ``population`` is no integer of 1 or more, there is nothing to start from, or
            another ``decode``.
    """
    population = checks.integer("population", population)
    timesteps, free = checks.integer("timesteps", timesteps), int(free_initial)
    restarts = checks.integer("restarts", restarts, least=0 if guesses else 1)
    bounds = [(-3.0, 2.5)] * timesteps + [(0.0, 1.0)] * free  # logarithms of the thresholds, V(0) / V_th(1)

    def neurons(w: Tensor) -> tuple[Tensor, Tensor]:
        thresholds = w[:, :timesteps].exp()
        return thresholds, thresholds[:, 0] * (w[:, timesteps] if free else 0.0)

    def loss(w: Tensor) -> Tensor:
        return 10 * torch.log10(gaussian_noise(*neurons(w), decode) / 0.5)

    def losses(columns: Array) -> Array:
        return loss(torch.tensor(columns.T)).numpy()

    def with_gradient(row: Array) -> tuple[float, Array]:
        w = torch.tensor(row[None], requires_grad=True)
        value = loss(w).sum()
        return value.item(), torch.autograd.grad(value, w)[0][0].nan_to_num(0.0).numpy()

    grown = [_with_silent_timesteps(b, timesteps) for b in guesses]
    rows = [[*b.thresholds.log(), *[b.initial / b.thresholds[0]] * free] for b in grown]
    inside = [np.clip(np.array(row, dtype=float), *np.array(bounds).T) for row in rows]
    ends = list(inside)
    for n in range(restarts + bool(inside)):
        drawn = qmc.LatinHypercube(len(bounds), rng=seed + n).random(population * len(bounds))
        first = qmc.scale(drawn, *np.array(bounds).T)
        if n == restarts:
            first[: len(inside)] = inside
        found = optimize.differential_evolution(
            *(losses, bounds), init=first,  # pyright: ignore[reportArgumentType]  # SciPy's default, a str, passes for its type
            maxiter=600, tol=1e-9, polish=False, rng=seed + n,
            vectorized=True, updating="deferred",
        )  # fmt: skip
        ends.append(found.x)
    wider = [(low - 3, high + 3) for low, high in bounds[:timesteps]] + bounds[timesteps:]
    polished = [optimize.minimize(with_gradient, end, jac=True, method="L-BFGS-B", bounds=wider) for end in ends]
    least = min(polished, key=lambda p: p.fun)
    hits = sum(p.fun < least.fun + 1e-3 for p in polished[len(inside) : len(inside) + restarts])
    thresholds, initial = neurons(torch.tensor(least.x[None]))
    best = Best(thresholds[0], float(initial[0]), -float(least.fun), hits)
    given = max((_measured(b, decode, free_initial) for b in grown), key=lambda b: b.sqnr_db, default=best)
    return given if given.sqnr_db > best.sqnr_db + _SAME_DB else best


def _with_silent_timesteps(neuron: Best, timesteps: int) -> Best:
    """Add timesteps at the end whose thresholds no current of ours reaches."""
    missing = timesteps - len(neuron.thresholds)
    return neuron._replace(thresholds=torch.cat([neuron.thresholds, neuron.thresholds.new_full((missing,), 1e4)]))


def _measured(neuron: Best, decode: str, free_initial: bool) -> Best:
    """Measure a given neuron by another decode."""
    initial = neuron.initial if free_initial else 0.0
    noise = gaussian_noise(neuron.thresholds.unsqueeze(0), torch.tensor([initial], dtype=torch.float64), decode)
    return Best(neuron.thresholds, initial, 10 * math.log10(0.5 / noise.item()))


def shares(timesteps: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Return the percentage of random ordered p that are realised exactly: p are sorted uniform numbers from [0, 1].

    By the telescoping form and by the printed one (T = 4), and how often their count never falls; by an order in which
    the timesteps join (T at most 6); and by any thresholds at all (T at most 4).

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more.
    """
    timesteps, generator = checks.integer("timesteps", timesteps), torch.Generator().manual_seed(seed)
    p = torch.rand(draws, timesteps, generator=generator, dtype=torch.float64).sort(descending=True).values
    transitions, found = p.flip(1), {}
    for form in ("telescoping", "printed")[: 2 if timesteps == 4 else 1]:
        thresholds = thresholds_from_transitions(p.T, form).T
        found[f"{form}_exact"] = realises(thresholds, transitions)
        found[f"{form}_monotone"] = count_staircase(thresholds).monotone
    if timesteps <= 6:
        orders = (order_chain(order) for order in permutations(range(1, timesteps + 1)))
        found["some_order"] = _any_of(orders, transitions)
    if timesteps <= 4:
        found["some_thresholds"] = found["some_order"] | _any_of(chains(timesteps), transitions)
    return {name: 100 * share.double().mean().item() for name, share in found.items()}


def _any_of(several: Iterable[Chain], transitions: Tensor) -> Tensor:
    """Say of each staircase, transitions [n, T], whether one of several chains makes it."""
    made, left = torch.zeros(len(transitions), dtype=torch.bool), torch.arange(len(transitions))
    for chain in several:
        now = torch.from_numpy(realised_by(chain, transitions[left].numpy()))
        made[left[now]] = True
        left = left[~now]
    return made


# Families of neurons, each with those that it contains: a neuron of theirs is one of its own. The ladder of decodes.
CONTAINS: dict[str, tuple[str, ...]] = {
    "rate_p1": (),
    "gain": ("rate_p1",),
    "levels": ("gain",),
    "weights": ("gain",),
    "patterns": ("levels", "weights"),
}


def best_of_families(largest: int, restarts: int = 36, population: int = 30) -> dict[tuple[str, bool], list[Best]]:
    """Find the best neuron of each decode, from V(0) = 0 and with V(0) free, for T = 1 ... ``largest``.

    Each search begins at what the families that it contains, and one timestep less, have found: so none can end below
    them. (Another number of timesteps changes the scale of ``rate_p1``, so that there it is no start.)

    Returns:
        By decode and freedom of V(0), a list over T.
    """
    found: dict[tuple[str, bool], list[Best]] = {(d, free): [] for free in (False, True) for d in CONTAINS}
    for timesteps in range(1, largest + 1):
        for (decode, free), best in found.items():
            guesses = [found[poorer, free][-1] for poorer in CONTAINS[decode]]
            guesses += [found[decode, False][-1]] if free else []
            guesses += best[-1:] if decode != "rate_p1" else []
            searches = {"restarts": restarts, "population": population}
            if decode in ("rate_p1", "gain", "levels"):  # fewer local minima
                searches["restarts"] = max(1, restarts // 4)
            best.append(best_realisable(timesteps, decode, free, guesses=guesses, **searches))
    return found
