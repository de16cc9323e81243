"""Where a trained spiking network errs: overload, granular error and uneven arrival, layer by layer."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from atif_lib import data
from atif_lib.networks.architectures import Network, neurons, unfused
from atif_lib.training.evaluation import predictions

__all__ = ["LayerErrors", "layer_errors"]


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
    found = neurons(network)
    strange = sorted({type(m).__name__ for m in found.values() if not hasattr(m, "decode")})
    if strange or not found:
        raise ValueError(f"network with neurons {', '.join(strange) or 'none'}; allowed: those of atif_lib.neurons")
    sums = {name: np.zeros(5) for name in found}
    with unfused(network):
        hooks = [m.register_forward_hook(_adder(copy.deepcopy(m), sums[name])) for name, m in found.items()]
        try:
            for _ in predictions(network, examples, batch_size):
                pass
        finally:
            for hook in hooks:
                hook.remove()
    return {name: _shares(*map(float, total)) for name, total in sums.items()}


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
    """Sum in float64, on the CPU: there are devices without float64, such as Apple's."""
    values = x.float().cpu().numpy().astype(np.float64).ravel()
    return float(values @ values)


def _shares(signal: float, overload: float, granular: float, unevenness: float, total: float) -> LayerErrors:
    whole = signal or float("nan")
    parts = (overload / whole, granular / whole, unevenness / whole)
    return LayerErrors(*parts, cross=total / whole - sum(parts), total=total / whole)
