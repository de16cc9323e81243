"""Spiking neurons as quantizers: Eqs 2-8 of the paper as pure functions.

A neuron that integrates a constant current for T timesteps answers with a spike count, one of T + 1 values: it is a
scalar quantizer. The functions here simulate it, give its closed form and measure its error. They know nothing of
surrogate gradients or modules, which are in :mod:`atif_lib.neurons`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from atif_lib import checks

__all__ = [
    "ErrorParts",
    "spike_counts",
    "split_error",
    "sqnr_db",
    "staircase",
    "uniform_staircase",
]


def spike_counts(current: Tensor, thresholds: Tensor, v0: float = 0.0) -> Tensor:
    r"""Count the spikes of a soft-reset neuron under a constant current, by simulation.

    .. math:: H(t) = V(t-1) + i, \quad z(t) = \Theta(H(t) - V_{th}(t)), \quad V(t) = H(t) - V_{th}(t)\, z(t)

    The membrane is carried without rounding, as long as the numbers lie within nine orders of magnitude of each other,
    so that an input of exactly k steps gives exactly k spikes.

    Args:
        current: constant input current i, any shape, floating point; the unit is that of the thresholds.
        thresholds: :math:`V_{th}(t)` for t = 1 ... T, shape [T], positive; a type wider than that of ``current`` is
            kept.
        v0: initial membrane potential, as a fraction of the first threshold, in [0, 1].

    Returns:
        The counts :math:`\sum_t z(t)`, int64, of the shape of ``current``.

    Raises:
        TypeError: an argument is not a floating-point tensor.
        ValueError: an empty or non-finite ``current``; thresholds that are not positive, not finite, none, or not of
            shape [T]; ``v0`` outside [0, 1].

    Source: Eqs 2-5 with a threshold for each timestep (Section 3.4).
    """
    check_signal("current", current)
    check_signal("thresholds", thresholds)
    if thresholds.dim() != 1 or not (thresholds > 0).all():
        raise ValueError(f"thresholds={thresholds.tolist()}; allowed: positive numbers, shape [T]")
    thresholds = thresholds.to(torch.promote_types(thresholds.dtype, current.dtype))
    initial = check_start(v0) * thresholds[0]
    i, v = _halves(current), _halves(initial, current.dim())
    counts = torch.zeros_like(current, dtype=torch.int64)
    for threshold in _halves(thresholds, current.dim()).unbind(1):
        over = v - threshold + i  # Eq. 2, the smallest number last: an i too small to change V still has its sign
        z = over.sum(0) >= 0  # Eq. 4
        v = torch.where(z, over, v + i)  # Eq. 5
        counts += z
    return counts


def staircase(current: Tensor, threshold: float | Tensor, timesteps: int, v0: float = 0.0) -> Tensor:
    r"""Count the spikes of a soft-reset neuron under a constant current, in closed form.

    .. math:: \sum_{t=1}^{T} z(t) = \min\left\{T, \max\left\{0, \lfloor (T\, i + V(0)) / V_{th} \rfloor\right\}\right\}

    This is Eq. 7 with a floor and a lower clip, which our copy of the paper does not show. It equals
    :func:`spike_counts` with T equal thresholds for every input, exact multiples of the step included.

    Args:
        current: constant input current i, any shape, floating point.
        threshold: :math:`V_{th}`, positive, in the unit of ``current``. A tensor's type is kept where it is wider than
            that of ``current``; a number is taken in the type of ``current``, at least in float32.
        timesteps: T, at least 1.
        v0: initial membrane potential V(0), as a fraction of the threshold, in [0, 1].

    Returns:
        The counts, int64, of the shape of ``current``.

    Raises:
        TypeError: ``current`` is not a floating-point tensor.
        ValueError: an empty or non-finite ``current``, ``threshold <= 0``, ``timesteps < 1``, ``v0`` outside [0, 1].

    Source: Eq. 7; the half-step start ``v0 = 0.5`` is not in the paper.
    """
    check_signal("current", current)
    timesteps = checks.integer("timesteps", timesteps)
    given = threshold.dtype if isinstance(threshold, Tensor) else torch.float32
    threshold = torch.as_tensor(threshold, dtype=torch.promote_types(given, current.dtype), device=current.device)
    if threshold.dim() or not threshold > 0 or threshold.isinf():
        raise ValueError(f"threshold={threshold.tolist()}; allowed: one positive finite number")
    initial = check_start(v0) * threshold
    charge, initial = timesteps * _halves(current), _halves(initial, current.dim())
    nearest = ((charge + initial).sum(0) / threshold).round().clamp(0, timesteps)
    # The quotient may be off by a rounding; the comparison of the charge with `nearest` steps is not.
    steps = nearest * _halves(threshold, current.dim())
    return (nearest.long() - ((initial - steps + charge).sum(0) < 0).long()).clamp(min=0)


def sqnr_db(x: Tensor, x_hat: Tensor, dim: int | None = None) -> Tensor:
    r"""Signal-to-quantization-noise ratio in decibels.

    .. math:: \mathrm{SQNR}(x) = 10 \log_{10} \frac{E[x^2]}{E[(x - \hat x)^2]}

    Args:
        x: signal, any shape. For a neuron that stands for a ReLU this is ReLU(i): where it is 0 and is decoded
            as 0 it adds nothing to either mean, so the ratio is that over the positive part.
        x_hat: its decoded estimate, same shape and unit.
        dim: the dimension that holds the samples; all of them by default.

    Returns:
        dB, a scalar or one value for each entry of the other dimensions; ``inf`` for an estimate without error.

    Raises:
        TypeError: an argument is not a floating-point tensor.
        ValueError: shapes differ, an empty or non-finite argument, a signal that is 0 everywhere.

    Source: Eq. 8.
    """
    dtype = check_pair(x, x_hat)
    x, x_hat = _wide(x), _wide(x_hat)
    signal, noise = x.square().mean(dim), (x - x_hat).square().mean(dim)
    if (signal == 0).any():
        raise ValueError("x=0 everywhere; allowed: a signal with power, else its SQNR is undefined")
    return (10 * torch.log10(signal / noise)).to(dtype)


class ErrorParts(NamedTuple):
    """Mean square error below the saturation point (granular) and above it (overload); they add up to the whole."""

    granular: Tensor
    overload: Tensor


def split_error(x: Tensor, x_hat: Tensor, saturation: float) -> ErrorParts:
    r"""Split the mean square quantization error at the point where the neuron saturates.

    .. math:: E[(x - \hat x)^2] = E[(x - \hat x)^2 \, 1_{x \le V_{th}}] + E[(x - \hat x)^2 \, 1_{x > V_{th}}]

    Args:
        x: signal, any shape.
        x_hat: its decoded estimate, same shape and unit.
        saturation: the largest input below overload; :math:`V_{th}` for a uniform neuron, :math:`p_1` otherwise.

    Returns:
        The granular and the overload part, in the squared unit of ``x``.

    Raises:
        TypeError: ``x`` or ``x_hat`` is not a floating-point tensor.
        ValueError: shapes differ, an empty or non-finite tensor.

    Source: Section 3.2, Fig. 2B.
    """
    dtype, over = check_pair(x, x_hat), x > saturation
    error = (_wide(x) - _wide(x_hat)).square()
    return ErrorParts(*(torch.where(where, error, 0).mean().to(dtype) for where in (~over, over)))


def uniform_staircase(threshold: Tensor, timesteps: int, v0: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""Transitions and levels of the uniform quantizer that a constant threshold makes.

    .. math:: t_k = (k - v_0) \frac{V_{th}}{T}, \qquad \ell_k = k \frac{V_{th}}{T}, \qquad k = 1 \dots T

    Args:
        threshold: :math:`V_{th}`, a scalar tensor.
        timesteps: T.
        v0: initial membrane potential as a fraction of the threshold, in [0, 1].

    Returns:
        Transitions and levels, each of shape [T], in the unit of ``threshold``; for
        :func:`atif_lib.quantization.density.gaussian_sqnr_db`.

    Raises:
        ValueError: ``timesteps`` is no integer of 1 or more, or ``v0`` is not in [0, 1].

    Source: Eq. 7.
    """
    k = torch.arange(1, checks.integer("timesteps", timesteps) + 1, dtype=threshold.dtype, device=threshold.device)
    return (k - check_start(v0)) * threshold / timesteps, k * threshold / timesteps


def _halves(x: Tensor, trailing: int = 0) -> Tensor:
    """Split numbers into a high and a low half, float64, so that sums over timesteps do not round.

    A float64 has 53 bits; the halves have at most 29, which leaves 24 for the growth of a sum. The shape is that of x
    behind a 2 and before ``trailing`` ones.
    """
    largest = torch.finfo(torch.float32).max
    high = x.float().clamp(-largest, largest).double()
    return torch.stack([high, x.double() - high]).view(2, *x.shape, *[1] * trailing)


def check_start(v0: float) -> float:
    """Return the start of a membrane as a fraction of its threshold.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if not 0 <= (start := checks.number("v0", v0)) <= 1:
        raise ValueError(f"v0={v0}; allowed: a fraction of the threshold in [0, 1]")
    return start


def check_signal(name: str, x: Tensor) -> None:
    """Refuse what is no signal.

    Raises:
        TypeError: it is not a floating-point tensor.
        ValueError: it is empty or not finite.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"{name} of type {getattr(x, 'dtype', type(x).__name__)}; allowed: a floating-point tensor")
    if x.numel() == 0:
        raise ValueError(f"{name} {[*x.shape]}; allowed: one value or more")
    if not x.isfinite().all():
        raise ValueError(f"{name} has {int((~x.isfinite()).sum())} NaN or infinite values; allowed: finite ones")


def check_pair(one: Tensor, other: Tensor, names: tuple[str, str] = ("x", "x_hat")) -> torch.dtype:
    """Refuse what is no pair of signals of one shape, as a signal and its estimate; return the type of both."""
    check_signal(names[0], one)
    check_signal(names[1], other)
    if one.shape != other.shape:
        raise ValueError(f"{names[0]} {[*one.shape]} and {names[1]} {[*other.shape]}; allowed: equal shapes")
    return torch.promote_types(one.dtype, other.dtype)


def _wide(x: Tensor) -> Tensor:
    """Return numbers of whose squares none is 0 or infinite, unless they are of the widest type themselves."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)
