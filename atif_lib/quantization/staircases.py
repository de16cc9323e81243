r"""Exact staircases of a neuron whose threshold changes with time: no grid of inputs, no simulation.

Under a constant current i a neuron that has paid q for its spikes so far fires at timestep t when
:math:`t\,i + V(0) - q \ge V_{th}(t)`: the inputs that share a spike pattern form one interval, and one number splits
it. T thresholds therefore cut the inputs into at most :math:`2^T` pieces. From left to right their patterns, read as
binary numbers with the first timestep in front, increase: of two inputs with the same spikes so far the larger has the
larger membrane.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from atif_lib import checks

__all__ = [
    "Piece",
    "Staircase",
    "count_staircase",
    "order_thresholds",
    "pattern_edges",
    "patterns",
    "pieces",
    "realises",
    "safe_thresholds",
]

Number = int | float | Fraction


class Piece(NamedTuple):
    """Inputs from ``low`` up to, not with, ``high`` (None: no bound) share one spike pattern, first timestep first."""

    low: Fraction | None
    high: Fraction | None
    spikes: tuple[int, ...]


def pieces(thresholds: Sequence[Number], initial: Number = 0) -> list[Piece]:
    r"""Cut the real line where the spike pattern of a neuron changes, in rational arithmetic.

    A piece with paid charge q is cut at :math:`i = (q + V_{th}(t) - V(0)) / t`, timestep by timestep.

    Args:
        thresholds: :math:`V_{th}(t)` for t = 1 ... T; floats are taken at their exact binary value.
        initial: the membrane potential at first, V(0), in the unit of the thresholds.

    Returns:
        The pieces in increasing order of the input; at most :math:`2^T`, none empty.

    Raises:
        ValueError: no threshold, or one that is not finite.

    Source: Eqs 2-5 with a threshold for each timestep.
    """
    if not thresholds:
        raise ValueError("thresholds=[]; allowed: one or more")
    exact, v = _rational("thresholds", thresholds), _rational("initial", [initial])[0]
    found = [(Piece(None, None, ()), -v)]
    for t, threshold in enumerate(exact, 1):
        found = [half for piece, paid in found for half in _cut(piece, paid, threshold, (paid + threshold) / t)]
    return [piece for piece, _ in found]


def _cut(piece: Piece, paid: Fraction, threshold: Fraction, at: Fraction) -> list[tuple[Piece, Fraction]]:
    low, high, spikes = piece
    halves = []
    if low is None or low < at:
        silent = Piece(low, at if high is None else min(high, at), (*spikes, 0))
        halves.append((silent, paid))
    if high is None or at < high:
        fired = Piece(at if low is None else max(low, at), high, (*spikes, 1))
        halves.append((fired, paid + threshold))
    return halves


def _rational(name: str, values: Sequence[Number]) -> list[Fraction]:
    try:
        return [Fraction(value) for value in values]
    except (ValueError, OverflowError, TypeError):
        raise ValueError(f"{name}={list(values)}; allowed: finite numbers") from None


def patterns(timesteps: int) -> Tensor:
    """List all spike patterns of T timesteps in the order of the pieces, shape [2^T, T], float64 zeros and ones.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more.
    """
    j = torch.arange(2 ** checks.integer("timesteps", timesteps)).unsqueeze(1)
    return (j >> torch.arange(timesteps - 1, -1, -1) & 1).double()


def pattern_edges(thresholds: Tensor, initial: Tensor | float = 0.0) -> Tensor:
    r"""Do what :func:`pieces` does for many neurons at once, in floating point and differentiably.

    Args:
        thresholds: shape [*, T].
        initial: V(0), in the unit of the thresholds, shape [*] or one number.

    Returns:
        Edges, shape [*, 2^T + 1], from -inf to inf: pattern j (row j of :func:`patterns`) holds from edge j up to edge
        j + 1, and never where the two are equal.

    Source: Eqs 2-5.
    """
    shape = thresholds.shape[:-1]
    infinite = thresholds.new_full((*shape, 1), torch.inf)
    edges = torch.cat([-infinite, infinite], -1)
    paid = -torch.as_tensor(initial, dtype=thresholds.dtype, device=thresholds.device).expand(shape).unsqueeze(-1)
    for t in range(1, thresholds.shape[-1] + 1):
        threshold = thresholds[..., t - 1 : t]
        low, high = edges[..., :-1], edges[..., 1:]
        at = torch.minimum(torch.maximum((paid + threshold) / t, low), high)
        edges = torch.cat([torch.stack([low, at], -1).flatten(-2), edges[..., -1:]], -1)
        paid = torch.stack([paid, paid + threshold], -1).flatten(-2)
    return edges


class Staircase(NamedTuple):
    """What the spike count does: smallest inputs that reach 1 ... T, shape [*, T]; whether it never falls; patterns."""

    transitions: Tensor
    monotone: Tensor
    patterns: Tensor


def count_staircase(thresholds: Tensor, initial: Tensor | float = 0.0, tolerance: float | None = None) -> Staircase:
    """Find the staircase of the spike count of many neurons at once.

    Args:
        thresholds: shape [*, T].
        initial: V(0), in the unit of the thresholds, shape [*] or one number.
        tolerance: pieces not wider than this are rounding, and left out; by default 1e-9 of the neuron's largest
            threshold in float64, and 1e-5 of it in other types.

    Returns:
        The transitions, whether the count never falls as the input grows, and the number of patterns that occur; of
        thresholds that are NaN there are none, and nothing is said to be monotone.
    """
    edges, timesteps = pattern_edges(thresholds, initial), thresholds.shape[-1]
    counts = patterns(timesteps).sum(-1).to(thresholds.device)
    there = edges.diff() > (_rounding(thresholds) if tolerance is None else tolerance)
    running = torch.where(there, counts, -1).cummax(-1).values
    reached = there.unsqueeze(-1) & (counts.unsqueeze(-1) >= torch.arange(1, timesteps + 1, device=thresholds.device))
    low = torch.where(reached, edges[..., :-1, None], torch.inf)
    return Staircase(low.amin(-2), there.any(-1) & (~there | (counts >= running)).all(-1), there.sum(-1))


def order_thresholds(transitions: Tensor, order: Sequence[int], initial: Tensor | float = 0.0) -> Tensor:
    r"""Solve for the thresholds of a neuron whose timesteps join in a given order, :math:`o_1, o_2, \dots, o_T`.

    At the k-th transition :math:`\tau_k` timestep :math:`o_k` begins to fire, beside those before it in the order:

    .. math:: V_{th}(o_k) = o_k\, \tau_k + V(0) - \sum_{j < k,\; o_j < o_k} V_{th}(o_j)

    The order T, ..., 2, 1 is the paper's (late spikes). Whether the timesteps then do join in this order, and none
    leaves, is for :mod:`atif_lib.quantization.chains` to say.

    Args:
        transitions: increasing inputs :math:`\tau_1 \dots \tau_T`, shape [*, T].
        order: a permutation of 1 ... T.
        initial: V(0), in the unit of the transitions.

    Returns:
        Thresholds in the order of the timesteps, shape [*, T]; not necessarily positive.

    Raises:
        ValueError: ``order`` is not a permutation of 1 ... T.
    """
    if sorted(order) != list(range(1, transitions.shape[-1] + 1)):
        raise ValueError(f"order={tuple(order)}; allowed: a permutation of 1 ... {transitions.shape[-1]}")
    found: dict[int, Tensor] = {}
    for t, transition in zip(order, transitions.unbind(-1), strict=True):
        found[t] = t * transition + initial - sum(v for j, v in found.items() if j < t)
    return torch.stack([found[t] for t in sorted(found)], -1)


def _rounding(thresholds: Tensor) -> Tensor:
    """Return what counts as rounding, shape [*, 1] in the unit of the thresholds [*, T]."""
    return (1e-9 if thresholds.dtype == torch.float64 else 1e-5) * thresholds.abs().amax(-1, keepdim=True)


def realises(
    thresholds: Tensor, transitions: Tensor, initial: Tensor | float = 0.0, tolerance: float | None = None
) -> Tensor:
    """Say of each neuron, thresholds [*, T], whether its count is monotone and steps up at ``transitions`` [*, T].

    The tolerance is that of `count_staircase`.
    """
    found = count_staircase(thresholds, initial, tolerance)
    allowed = _rounding(thresholds) if tolerance is None else tolerance
    return found.monotone & ((found.transitions - transitions).abs() <= allowed).all(-1)


def safe_thresholds(w: Tensor) -> Tensor:
    r"""Make four thresholds that realise their telescoping transitions, from any real parameters.

    .. math:: V_1 \ge V_2 \ge V_3 \ge V_4 > 0, \qquad V_2 + V_3 \le 3 V_4

    Of thresholds that never rise these, and no others, make the count step up exactly at :math:`\frac14 V_4`,
    :math:`\frac14(V_3 + V_4)`, :math:`\frac14(V_2 + V_3 + V_4)` and :math:`V_1`, from V(0) = 0. In proportions
    :math:`(V_2, V_3, V_4)` this is a triangle, and a softmax picks a point in it.

    Args:
        w: shape [*, 5]: three weights of the corners, the logarithm of the scale, that of :math:`V_1 - V_2`.

    Returns:
        Thresholds, shape [*, 4].

    Source: proved in the book, "What T thresholds can realise".
    """
    corners = w.new_tensor([[2.0, 1.0, 1.0], [1.5, 1.5, 1.0], [1.0, 1.0, 1.0]])
    late = w[..., 3:4].exp() * (w[..., :3].softmax(-1) @ corners)
    return torch.cat([late[..., :1] + w[..., 4:].exp(), late], -1)
