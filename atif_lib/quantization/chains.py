r"""Which staircases of the count some thresholds make: by an order of the timesteps, or by any chain of patterns.

Two questions are easily mixed. Do thresholds exist with which the timesteps join one after another, none ever leaving
(:func:`realising_orders`)? And do thresholds exist whose spike *count* steps up where it should, whatever the patterns
(:func:`realise`)? The first is sufficient for the second, not necessary.

As the input grows the pattern of spikes runs through a *chain* of increasing binary numbers (see
:mod:`atif_lib.quantization.staircases`). With the chain given, all that it asks of thresholds is linear.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from atif_lib import checks
from atif_lib.quantization.staircases import realises

__all__ = [
    "Conditions",
    "chains",
    "conditions",
    "order_chain",
    "realise",
    "realise_in_order",
    "realised_by",
    "realising_orders",
]

Chain = tuple[tuple[int, ...], ...]  # patterns in the order of the input, first timestep first
_ROUNDING = 1e-9


@lru_cache
def chains(timesteps: int) -> tuple[Chain, ...]:
    """List all sequences of patterns whose count goes from 0 to T and never falls or jumps, the shortest first.

    Patterns increase as binary numbers. There are 1, 3, 33 and 2079 for T = 1, 2, 3, 4; for T = 5 too many.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 to 4.
    """
    if checks.integer("timesteps", timesteps) > 4:
        raise ValueError(f"timesteps={timesteps}; allowed: at most 4: further chains are too many to list")
    found: list[Chain] = [((0,) * timesteps,)]
    for count in range(1, timesteps + 1):
        same = [p for p in product((0, 1), repeat=timesteps) if sum(p) == count]
        runs = [run for n in range(1, len(same) + 1) for run in combinations(same, n)]
        found = [chain + run for chain in found for run in runs if chain[-1] < run[0]]
    return tuple(sorted(found, key=len))


def order_chain(order: Sequence[int]) -> Chain:
    """Return the chain in which the timesteps join in a given order and none leaves: T + 1 nested patterns."""
    times = range(1, len(order) + 1)
    return tuple(tuple(int(t in order[:k]) for t in times) for k in range(len(order) + 1))


class Conditions(NamedTuple):
    """What a chain asks of V_th(1), ..., V_th(T), V(0): linear forms in these, one a row.

    ``steps`` are the inputs at which the count goes to 1, ..., T, shape [T, T + 1]; none of ``rows`` may be negative.
    """

    steps: NDArray[np.float64]
    rows: NDArray[np.float64]


@lru_cache(maxsize=4096)
def conditions(chain: Chain) -> Conditions:
    r"""Write down for which thresholds a neuron runs through a chain of patterns.

    Between two neighbours of the chain let t be the first timestep that differs. The pattern changes where t is on
    the point of firing, after the earlier spikes, which both have, were paid:

    .. math:: c = \frac{1}{t} \Big( V_{th}(t) + \sum_{j < t} z(j)\, V_{th}(j) - V(0) \Big)

    A pattern z holds on [c, c') if each timestep that fires in it can pay at c, and each silent one cannot before c':

    .. math:: z(t) = 1:\; t\,c + V(0) \ge \sum_{j \le t} z(j)\, V_{th}(j), \qquad
        z(t) = 0:\; t\,c' + V(0) \le V_{th}(t) + \sum_{j < t} z(j)\, V_{th}(j)

    With :math:`c \le c'` these are all conditions. A pattern on an interval of no width is allowed.
    """
    timesteps, t = len(chain[0]), np.arange(1, len(chain[0]) + 1)
    z = np.array(chain, dtype=float)
    earlier = np.tril(np.ones((timesteps, timesteps)), -1)
    # charge[n, t]: what pattern n must have taken in by t for a spike there, beside V(0): a form in the thresholds.
    charge = np.concatenate([z[:, None, :] * earlier + np.eye(timesteps), -np.ones((len(z), timesteps, 1))], axis=2)
    first = (z[:-1] != z[1:]).argmax(1)
    cuts = charge[np.arange(len(z) - 1), first] / t[first, None]
    rows = [np.diff(cuts, axis=0)]
    for n, pattern in enumerate(z):
        fires, silent = pattern == 1, pattern == 0
        if n > 0:
            rows.append(t[fires, None] * cuts[n - 1] - charge[n, fires])
        if n < len(cuts):
            rows.append(charge[n, silent] - t[silent, None] * cuts[n])
    stacked = np.concatenate(rows)
    return Conditions(cuts[np.diff(z.sum(1)) > 0], stacked[np.abs(stacked).max(1) > _ROUNDING])


def realised_by(chain: Chain, transitions: NDArray[np.float64], initial: float = 0.0) -> NDArray[np.bool_]:
    """Say which staircases, transitions [n, T], a chain makes; not for chains whose steps depend on each other.

    Where the T steps are independent forms they determine the thresholds, and the conditions are looked up. Of the
    other chains the staircases have no volume, and the answer here is no; :func:`realise` knows those too.
    """
    steps, rows = conditions(chain)
    if np.linalg.matrix_rank(steps[:, :-1]) < len(steps):
        return np.zeros(len(transitions), dtype=bool)
    thresholds = np.linalg.solve(steps[:, :-1], (transitions - steps[:, -1] * initial).T)
    rounding = _ROUNDING * transitions.max(axis=1)
    return np.all(rows[:, :-1] @ thresholds + rows[:, -1:] * initial >= -rounding, axis=0)


def realise(transitions: Tensor, initial: float = 0.0) -> tuple[Chain, Tensor] | None:
    """Find thresholds whose spike count steps up exactly at the given inputs, or learn that there are none.

    Each chain of patterns is a linear programme in the T thresholds; each answer is checked by
    :func:`atif_lib.quantization.staircases.realises`.

    Args:
        transitions: increasing positive inputs, shape [T], T at most 4.
        initial: V(0), in the unit of the transitions.

    Returns:
        The chain and the thresholds, shape [T], of one of the shortest chains; None where no thresholds do it.

    Raises:
        ValueError: transitions that are not positive and increasing, or more than 4.
    """
    wanted = _increasing(transitions)
    if len(wanted) > 4:
        raise ValueError(f"transitions={transitions.tolist()}; allowed: at most 4, for more have too many chains")
    unit = wanted[-1].item()  # the tolerances of linprog are absolute
    wanted, start = wanted / unit, initial / unit
    for chain in chains(len(wanted)):
        steps, rows = conditions(chain)
        programme = optimize.linprog(
            np.zeros(len(wanted)),
            A_ub=-rows[:, :-1],
            b_ub=rows[:, -1] * start,
            A_eq=steps[:, :-1],
            b_eq=wanted - steps[:, -1] * start,
            bounds=(None, None),
        )
        if programme.status == 0:
            thresholds = torch.tensor(programme.x)
            if realises(thresholds, torch.tensor(wanted), start):
                return chain, thresholds * unit
    return None


def realising_orders(transitions: Tensor, initial: float = 0.0) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Find all orders in which the timesteps can join one after another, exactly at the given inputs.

    Orders are tried timestep by timestep, late ones first, and left as soon as a condition of :func:`conditions` fails.

    Args:
        transitions: increasing positive inputs, shape [T]; seconds up to T = 13.
        initial: V(0), in the unit of the transitions.

    Yields:
        An order and its thresholds, shape [T].

    Raises:
        ValueError: transitions that are not positive and increasing.
    """
    wanted = _increasing(transitions).tolist()
    rounding = _ROUNDING * wanted[-1]

    def joined(order: tuple[int, ...], v: dict[int, float]) -> Iterator[tuple[tuple[int, ...], dict[int, float]]]:
        k = len(order)
        if k == len(wanted):
            yield order, v
            return
        for t in sorted(set(range(1, len(wanted) + 1)) - v.keys(), reverse=True):
            threshold = t * wanted[k] + initial - sum(v[j] for j in order if j < t)
            paid = np.cumsum([0.0] + [v[j] if j < t else 0.0 for j in order])
            silent = all(
                t * input_ + initial <= threshold + spent + rounding
                for input_, spent in zip(wanted, paid[: k + 1], strict=False)
            )
            grown = dict(sorted((v | {t: threshold}).items()))
            spent = np.cumsum(list(grown.values()))
            fires = all(u * wanted[k] + initial >= s - rounding for u, s in zip(grown, spent, strict=True))
            if silent and fires:
                yield from joined((*order, t), grown)

    for order, v in joined((), {}):
        yield order, torch.tensor([v[t] for t in sorted(v)], dtype=torch.float64)


def realise_in_order(transitions: Tensor, initial: float = 0.0) -> tuple[tuple[int, ...], Tensor] | None:
    """Return the first of :func:`realising_orders`, None where no order does it; its arguments and errors are those."""
    return next(realising_orders(transitions, initial), None)


def _increasing(transitions: Tensor) -> NDArray[np.float64]:
    values = transitions.detach().double().cpu().numpy()
    positive = values.ndim == 1 and values.size and values[0] > 0 and np.isfinite(values).all()
    if not positive or not all(a < b for a, b in pairwise(values)):
        raise ValueError(f"transitions={transitions.tolist()}; allowed: positive, increasing numbers, all finite")
    return values
