"""Batch norms and the neuron behind them as one operation: fast, and it keeps only the outputs of the convolutions.

A neuron's current is a sum of terms, one for each path that meets there: :math:`x(t) = \\sum_k s_k\\, x_k(t) + b`, with
a scale and an offset for each channel that batch norm makes (He et al. 2016 have two paths, a VGG has one). The forward
pass reads the terms once for the norms' statistics and once for the spikes. The backward pass (through time, by hand)
works membranes out again instead of keeping them. Each function below is one loop over the data once torch has compiled
it; time stands in registers.

Data are laid out [T, R, C]: timesteps, all places of all examples, channels; a channels-last map is that already.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Law", "Term", "compiled", "fire", "fusable"]

_ROWS = 128  # places that a partial sum is taken over: a block of them stays in the processor's cache


class Term(NamedTuple):
    """One term of a current: maps [T, N, C, *], and the batch norm that they have yet to pass, if any."""

    maps: Tensor
    norm: nn.modules.batchnorm._BatchNorm | None = None


class Law(NamedTuple):
    """What a surrogate gradient needs to know of the neuron."""

    slope: float
    relative: bool
    detach_reset: bool
    charge: bool


def fusable(norm: nn.Module) -> bool:
    """Tell whether a batch norm is one whose statistics are worked out here: plain, with weights and running means."""
    return type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d) and bool(norm.affine and norm.track_running_stats)


def fire(terms: Sequence[Term], thresholds: Tensor, v_start: Tensor, law: Law) -> Tensor:
    r"""Spikes [T, N, C, *] of a soft-reset neuron whose current is the sum of some terms; running means move on.

    Backwards, with :math:`g(t) = \partial L / \partial z(t)`, the gradient of the current runs from the last timestep,

    .. math:: a(t) = a(t+1) + \left(g(t) - V_{th}\, a(t+1)\right) \sigma'(q(t)), \qquad
        \frac{\partial L}{\partial V_{th}} = - \sum_t \Big(\left(a(t) - a(t+1)\right) + a(t+1)\, z(t)\Big)

    for the absolute argument q; the relative one has :math:`H / V_{th}` with the first difference.

    Args:
        terms: one or two of them, of equal shape and dtype.
        thresholds: [T] or [T, C].
        v_start: membrane before the first timestep, [] or [C].
        law: of the surrogate gradient.

    Raises:
        ValueError: in training, a norm that sees a single value for each channel.

    Source: Eqs 2-5 and 9-12; the norm's gradient is that of Ioffe and Szegedy (2015).
    """
    shape, channels = terms[0].maps.shape, terms[0].maps.shape[2]
    maps = [_rows(term.maps) for term in terms]
    parameters, moments = [], []
    for x, (_, norm) in zip(maps, terms, strict=True):
        parameters += [None, None] if norm is None else [norm.weight, norm.bias]
        moments.append(None if norm is None else _moments(norm, x))
    spikes = _Fire.apply(law, moments, thresholds, v_start, *maps, *parameters)
    return spikes.view(shape[0], shape[1], *shape[3:], channels).movedim(-1, 2)


def _rows(maps: Tensor) -> Tensor:
    """[T, N, C, *] as [T, R, C]."""
    return maps.movedim(2, -1).reshape(len(maps), -1, maps.shape[2])


class _Moments(NamedTuple):
    """Mean and variance [C] that a norm takes, its epsilon, and whether they depend on the maps."""

    mean: Tensor
    var: Tensor
    eps: float
    of_batch: bool


@torch.no_grad()
def _moments(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> _Moments:
    """Moments of the batch in training, with the running ones moved on (as torch does); else the running ones."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    if not norm.training:  # as they are now: the backward pass may come after another update of them
        return _Moments(norm.running_mean.clone(), norm.running_var.clone(), norm.eps, False)
    count = x.shape[0] * x.shape[1]
    if count < 2:
        raise ValueError(f"maps with {count} value a channel in training; allowed: more than 1, for the batch norm")
    near = x[0, 0].to(torch.promote_types(x.dtype, torch.float32))  # else a large mean would drown a small variance
    total, squares = compiled(_sums_of_squares)(x, near, _block(x.shape[1]))
    mean = total / count
    var = (squares / count - mean * mean).clamp(min=0)
    mean = mean + near
    norm.num_batches_tracked += 1
    rate = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), rate)
    norm.running_var.lerp_((var * (count / (count - 1))).to(norm.running_var.dtype), rate)
    return _Moments(mean, var, norm.eps, True)


class _Fire(torch.autograd.Function):
    """Eqs 2-5 for the sum of the terms, and their gradient (Eqs 9-12)."""

    @staticmethod
    def forward(ctx: Any, law: Law, moments: list, thresholds: Tensor, v_start: Tensor, *rest: Tensor) -> Tensor:
        terms = len(moments)
        maps, parameters = rest[:terms], rest[terms:]
        wide = torch.promote_types(maps[0].dtype, thresholds.dtype)
        thresholds, v_start = thresholds.to(wide), v_start.to(wide)
        scales, offset = [], None
        for n, found in enumerate(moments):
            scale = None
            if found is not None:
                weight, bias = parameters[2 * n : 2 * n + 2]
                scale = weight.to(wide) * (found.var.to(wide) + found.eps).rsqrt()
                shift = bias - found.mean.to(wide) * scale
                offset = shift if offset is None else offset + shift
            scales.append(scale)
        current = (list(maps), scales, offset)
        ctx.law, ctx.moments, ctx.current = law, moments, (scales, offset)
        ctx.save_for_backward(*maps, thresholds, v_start)
        return compiled(_spikes)(*current, thresholds, v_start, law.charge)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple:
        *maps, thresholds, v_start = ctx.saved_tensors
        (scales, offset), law = ctx.current, ctx.law
        current = (maps, scales, offset)
        g_x = compiled(_gradient_of_current)(*current, thresholds, v_start, g, law)
        means = [None if m is None else m.mean.to(thresholds.dtype) for m in ctx.moments]
        sums = compiled(_sums_of_gradients)(*current, thresholds, v_start, g_x, g, means, law, _block(g.shape[1]))
        g_x_total, g_start, g_thresholds, products = sums
        if thresholds.dim() == 1:
            g_thresholds = g_thresholds.sum(1)
        g_maps, g_parameters = [], []
        for x, scale, found, mean, product in zip(maps, scales, ctx.moments, means, products, strict=True):
            if found is None:
                g_maps.append(g_x)
                g_parameters += [None, None]
                continue
            rstd = (found.var.to(thresholds.dtype) + found.eps).rsqrt()
            g_weight = product * rstd
            g_parameters += [g_weight, g_x_total]
            if found.of_batch:  # the statistics depend on the maps, too
                count = x.shape[0] * x.shape[1]
                by_x = -scale * rstd * g_weight / count
                rest = -scale * g_x_total / count - by_x * mean
                g_maps.append(compiled(_affine)(g_x, x, scale, by_x, rest))
            else:
                g_maps.append((g_x * scale).to(x.dtype))
        g_start = g_start if v_start.dim() else g_start.sum()
        return None, None, g_thresholds, g_start, *g_maps, *g_parameters


def _spikes(
    maps: list[Tensor], scales: list, offset: Tensor | None, thresholds: Tensor, v: Tensor, charge: bool
) -> Tensor:
    _, zs = _membranes(maps, scales, offset, thresholds, v)
    worth = [threshold * z if charge else z for threshold, z in zip(thresholds.unbind(), zs, strict=True)]
    return torch.stack([z.to(maps[0].dtype) for z in worth])


def _current(maps: list[Tensor], scales: list, offset: Tensor | None, t: int, dtype: torch.dtype) -> Tensor:
    terms = [x[t].to(dtype) if s is None else x[t].to(dtype) * s for x, s in zip(maps, scales, strict=True)]
    return sum(terms[1:], terms[0]) if offset is None else sum(terms, offset)


def _membranes(
    maps: list[Tensor], scales: list, offset: Tensor | None, thresholds: Tensor, v: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Membranes H(t) before a reset, and spikes, of all timesteps."""
    hs, zs = [], []
    for t, threshold in enumerate(thresholds.unbind()):
        h = v + _current(maps, scales, offset, t, v.dtype)  # Eqs 2, 3
        z = (h >= threshold).to(v.dtype)  # Eq. 4
        v = h - threshold * z  # Eq. 5
        hs.append(h)
        zs.append(z)
    return hs, zs


def _gradient_of_current(
    maps: list[Tensor],
    scales: list,
    offset: Tensor | None,
    thresholds: Tensor,
    v_start: Tensor,
    g: Tensor,
    law: Law,
) -> Tensor:
    r"""Work out the gradient of the current, :math:`a(t) = \partial L / \partial i(t)`, from the last timestep back.

    .. math:: a(t) = a(t+1) + \left(g(t) - V_{th}\, a(t+1)\right) \frac{\partial z(t)}{\partial H(t)}

    The second term in the bracket is that of the reset; it is left out if that is detached.
    """
    hs, _ = _membranes(maps, scales, offset, thresholds, v_start)
    steep = law.slope / thresholds if law.relative else torch.full_like(thresholds, law.slope)
    a, out = None, []
    for t in reversed(range(len(hs))):
        g_z = g[t].to(v_start.dtype)
        if law.charge:
            g_z = g_z * thresholds[t]
        if a is not None and not law.detach_reset:
            g_z = g_z - thresholds[t] * a
        e = (-(steep[t] * (hs[t] - thresholds[t])).abs()).exp()
        r = 1 / (1 + e)
        g_h = g_z * (steep[t] * (e * r * r))  # slope times the derivative of the sigmoid
        a = g_h if a is None else a + g_h
        out.append(a.to(maps[0].dtype))
    return torch.stack(out[::-1])


def _sums_of_gradients(
    maps: list[Tensor],
    scales: list,
    offset: Tensor | None,
    thresholds: Tensor,
    v_start: Tensor,
    g_x: Tensor,
    g: Tensor,
    means: list,
    law: Law,
    block: int,
) -> tuple[Tensor, Tensor, Tensor, list]:
    """Sum over all places: the gradient (all timesteps; the first), the thresholds' [T, C], and maps times it."""
    hs, zs = _membranes(maps, scales, offset, thresholds, v_start)
    inverse = 1 / thresholds
    a = [part.to(v_start.dtype) for part in g_x.unbind()]
    by_threshold = []
    for t, (h, z) in enumerate(zip(hs, zs, strict=True)):
        after = a[t + 1] if t + 1 < len(a) else torch.zeros_like(a[0])
        through_step = a[t] - after
        found = -(through_step * (h * inverse[t]) if law.relative else through_step) - after * z
        by_threshold.append(found + g[t].to(v_start.dtype) * z if law.charge else found)
    products: list[Any] = [
        None if mean is None else sum(a[t] * (x[t].to(mean.dtype) - mean) for t in range(len(a)))
        for x, mean in zip(maps, means, strict=True)
    ]
    return (
        _sum(sum(a[1:], a[0]), block),
        _sum(a[0], block),
        torch.stack([_sum(found, block) for found in by_threshold]),
        [None if product is None else _sum(product, block) for product in products],
    )


def _sums_of_squares(x: Tensor, near: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Sum [C] over all timesteps and places: the distance from a value near the mean, and its square."""
    wide = x.to(near.dtype) - near
    return _sum(wide.flatten(0, 1), block), _sum((wide * wide).flatten(0, 1), block)


def _affine(g_x: Tensor, x: Tensor, by_g: Tensor, by_x: Tensor, rest: Tensor) -> Tensor:
    return (g_x * by_g + x * by_x + rest).to(x.dtype)


def _sum(x: Tensor, block: int) -> Tensor:
    """Sum [R, C] over the places, by blocks."""
    return x.unflatten(0, (-1, block)).sum(1).sum(0)


def _block(places: int) -> int:
    """Return the largest divisor of a number of places that is not above _ROWS."""
    return next(size for size in range(min(places, _ROWS), 0, -1) if places % size == 0)


@cache
def compiled(function: Callable) -> Callable:
    """Return a function compiled by torch, anew for every shape that it meets; as it is written from a failure on.

    To compile can fail late, with a new shape: the disk may be full by then. The training goes on. (Where autograd
    derives the backward pass, that is compiled when it first runs, outside of this.)
    """
    no_limit = torch._dynamo.config.patch(recompile_limit=math.inf, accumulated_recompile_limit=math.inf)
    quick = no_limit(torch.compile(function, dynamic=False))
    failed = False

    def run(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            try:
                return quick(*arguments)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, OSError) as error:
                result = function(*arguments)  # raises by itself what is no fault of the compiler
                failed = True
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                warnings.warn(f"a kernel runs uncompiled, and slower: torch.compile failed ({reason})", stacklevel=2)
                return result
        return function(*arguments)

    return run
