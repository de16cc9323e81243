"""Where a trained spiking network errs, layer by layer: overload, granular error, uneven arrival; and its SQNR."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from atif_lib import data
from atif_lib.networks.architectures import Network, neurons_of, unfused
from atif_lib.training.evaluation import predictions

__all__ = ["LayerErrors", "affine_sqnr_db", "in_float64", "layer_errors", "watch"]


class LayerErrors(NamedTuple):
    """Mean squares of one layer as shares of its signal's; the first three and ``cross`` add up to ``total``."""

    overload: float
    granular: float
    unevenness: float
    cross: float
    total: float


@torch.no_grad()
def layer_errors(network: Network, examples: data.Examples, batch_size: int = 250) -> dict[str, LayerErrors]:
    r"""Split the error of each layer of neurons, on the test examples, against the ReLU of its mean current.

    .. math:: \hat x - \mathrm{ReLU}(\bar x) = \underbrace{c - \mathrm{ReLU}(\bar x)}_{\text{overload}} +
        \underbrace{q(\bar x) - c}_{\text{granular}} + \underbrace{\hat x - q(\bar x)}_{\text{unevenness}}, \qquad
        c = \min\{\hat x_{\max}, \mathrm{ReLU}(\bar x)\}

    Here :math:`\bar x` is the mean current over the T timesteps, :math:`\hat x` what the neuron's ``decode`` makes of
    its spikes, :math:`q(\bar x)` what it would make of them if the current were constant, and :math:`\hat x_{\max}`
    what it makes of a spike at every timestep, :math:`V_{th}` for a uniform neuron. The mean squares are divided by
    that of :math:`\mathrm{ReLU}(\bar x)`. The three errors are not independent: ``cross`` is twice the sum of the
    means of their products, and may be negative.

    Each layer is measured at the currents that reach it, with whatever errors the layers before made.

    Args:
        network: its neurons are of :mod:`atif_lib.neurons`; left in evaluation mode.
        examples: the test examples are used, all of them.
        batch_size: examples at a time.

    Returns:
        The shares for each layer, by its name, in the order of the network; NaN for one without positive current.

    Raises:
        ValueError: a neuron that has no ``decode``, or none at all.
    """
    found = _decoding_neurons(network)
    sums = {name: np.zeros(5) for name in found}
    with unfused(network):  # the twins, too
        watch(network, examples, batch_size, {name: _adder(_twin(m), sums[name]) for name, m in found.items()})
    return {name: _shares(*map(float, total)) for name, total in sums.items()}


@torch.no_grad()
def affine_sqnr_db(network: Network, examples: data.Examples, batch_size: int = 250) -> dict[str, float]:
    r"""SQNR of each layer of neurons for a reader that knows gain and offset, on the test examples.

    .. math:: \mathrm{SQNR} = 10 \log_{10} \frac{E[x^2]}{\min_{g, b} E[(x - g\,n - b)^2]}, \qquad
        x = \mathrm{ReLU}(\bar x), \quad n = \sum_{t=1}^{T} z(t)

    The next layer's weights and bias are such a reader; so the decode of the neuron itself does not matter here, and
    neither does the error of the layers before. Gain and offset are those of each channel, by linear regression; both
    means run over channels too.

    Args:
        network: its neurons are of :mod:`atif_lib.neurons`; left in evaluation mode.
        examples: the test examples are used, all of them.
        batch_size: examples at a time.

    Returns:
        dB for each layer, by its name, in the order of the network; NaN for one without positive current.

    Raises:
        ValueError: a neuron that is not of :mod:`atif_lib.neurons`, or none at all.
    """
    found = _decoding_neurons(network)
    sums: dict[str, list[np.ndarray]] = {name: [] for name in found}
    watch(network, examples, batch_size, {name: _regressor(sums[name]) for name in found})
    return {name: _regressed(np.sum(parts, axis=0)) for name, parts in sums.items()}


def _decoding_neurons(network: Network) -> dict[str, Any]:
    found = neurons_of(network)
    strange = sorted({type(m).__name__ for m in found.values() if not hasattr(m, "decode")})
    if strange or not found:
        raise ValueError(f"network with neurons {', '.join(strange) or 'none'}; allowed: those of atif_lib.neurons")
    return found


def watch(network: Network, examples: data.Examples, batch_size: int, watchers: dict[str, Callable]) -> None:
    """Run all test examples through the network with forward hooks on its neurons, given by their names."""
    found = neurons_of(network)
    with unfused(network):
        hooks = [found[name].register_forward_hook(watcher) for name, watcher in watchers.items()]
        try:
            for _ in predictions(network, examples, batch_size):
                pass
        finally:
            for hook in hooks:
                hook.remove()


def _regressor(sums: list[np.ndarray]) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
    """Make a hook that notes, for each channel of a batch, the sums of 1, n, n n, x, n x and x x: [6, C]."""

    def note(neuron: nn.Module, inputs: tuple[Tensor], spikes: Tensor) -> None:
        (x_seq,) = inputs
        x = _by_channel(x_seq.float().mean(0).relu())
        n = _by_channel(spikes.count_nonzero(0).float())
        sums.append(np.stack([(a * b).sum(1) for a, b in ((n**0, n**0), (n, n**0), (n, n), (x, n**0), (n, x), (x, x))]))

    return note


def in_float64(x: Tensor) -> np.ndarray:
    """Return numbers for exact sums, on the CPU: there are devices without float64, such as Apple's."""
    return x.float().cpu().numpy().astype(np.float64)


def _by_channel(x: Tensor) -> np.ndarray:
    """Return [N, C, *] as float64 [C, n]."""
    return in_float64(x.movedim(1, 0).flatten(1))


def _regressed(sums: np.ndarray) -> float:
    one, n, nn_, x, nx, xx = sums
    spread, shared = nn_ - n**2 / one, nx - n * x / one
    gained = np.divide(shared**2, spread, out=np.zeros_like(spread), where=spread > 0)  # a silent channel explains none
    noise, signal = (xx - x**2 / one - gained).clip(min=0).sum(), xx.sum()
    return 10 * np.log10(signal / noise).item() if signal and noise else float("inf" if signal else "nan")


def _twin(neuron: nn.Module) -> nn.Module:
    """Copy a neuron without hooks: what a reader monitors is the network, not what the copy is asked."""
    twin = copy.deepcopy(neuron)
    twin._forward_hooks.clear()
    twin._forward_pre_hooks.clear()
    return twin


def _adder(twin: Any, sums: np.ndarray) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
    """Make a hook that adds the squares of a batch: signal, overload, granular, unevenness, total."""

    def answer(constant: Tensor) -> Tensor:
        twin.reset()
        return twin.decode(twin(constant.expand(twin.timesteps, *constant.shape)))

    def add(neuron: Any, inputs: tuple[Tensor], spikes: Tensor) -> None:
        (x_seq,) = inputs
        mean = x_seq[0] + (x_seq - x_seq[0]).mean(0)  # that of equal currents is exact
        signal, x_hat, ideal = mean.relu(), neuron.decode(spikes), answer(mean)
        clipped = torch.minimum(signal, answer(torch.full_like(mean[:1], 2 * neuron.thresholds.sum().item())))
        parts = (signal, clipped - signal, ideal - clipped, x_hat - ideal, x_hat - signal)
        np.add(sums, [_sum_of_squares(part) for part in parts], out=sums)

    return add


def _sum_of_squares(x: Tensor) -> float:
    values = in_float64(x).ravel()
    return float(values @ values)


def _shares(signal: float, overload: float, granular: float, unevenness: float, total: float) -> LayerErrors:
    whole = signal or float("nan")
    parts = (overload / whole, granular / whole, unevenness / whole)
    return LayerErrors(*parts, cross=total / whole - sum(parts), total=total / whole)
