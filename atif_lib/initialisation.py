"""Thresholds that start where the data want them: at the best quantizer of the currents that one batch makes."""

import torch
from spikingjelly.activation_based import functional
from torch import Tensor

from atif_lib.limits import best_uniform, empirical
from atif_lib.networks import Network, neurons
from atif_lib.neurons import ATIFnu, ATIFu

__all__ = ["start_from_data"]


@torch.no_grad()
def start_from_data(network: Network, inputs: Tensor) -> None:
    r"""Set every learned threshold to the optimum of its measured input, for the neuron's own T and v(0).

    .. math:: V_{th} = \arg\max_V \mathrm{SQNR}\left(\mathrm{ReLU}(\bar x), \hat x_V(\bar x)\right), \qquad
        \bar x = \frac{1}{T} \sum_{t=1}^{T} x(t)

    Layer by layer in the order of the network, so that each sees the spikes of those before it as they are then. The
    quantizer is the uniform one of a constant current. :class:`~atif_lib.neurons.ATIFnu` starts at the same optimum,
    its p evenly spaced: that start its thresholds do realise, for other p this is the exception. One threshold sees
    the currents of the whole layer, one a channel those of its channel; where none is positive it stays as it is.

    Batch norms use this batch's mean and variance, as in training; their running averages are left as they were.

    Args:
        network: changed in place; its neurons ATIFu or ATIFnu.
        inputs: one batch [N, C, H, W], normalized.

    Raises:
        ValueError: a neuron without a learned threshold, or none at all.

    Source: :func:`atif_lib.limits.best_uniform`. Of weights, Mishkin and Matas (2016) do the like.
    """
    found = neurons(network)
    others = sorted({type(m).__name__ for m in found.values()} - {"ATIFu", "ATIFnu"})
    if others or not found:
        raise ValueError(f"network must have ATIFu or ATIFnu neurons alone, got {', '.join(others) or 'none'}")
    training, buffers = network.training, {name: value.clone() for name, value in network.named_buffers()}
    hooks = [m.register_forward_pre_hook(lambda neuron, x: _fit(neuron, x[0].mean(0))) for m in found.values()]
    functional.reset_net(network.train())
    network(inputs)
    for hook in hooks:
        hook.remove()
    functional.reset_net(network.train(training))
    network.load_state_dict(buffers, strict=False)


def _fit(neuron: ATIFu | ATIFnu, current: Tensor) -> None:
    """Set the thresholds of a neuron for mean currents [N, C, *]."""
    parameter = neuron.log_steps if isinstance(neuron, ATIFnu) else neuron.log_threshold
    steps = neuron.timesteps if isinstance(neuron, ATIFnu) else 1
    thresholds = neuron.thresholds[0].clone()
    per_channel = thresholds.dim() == 1
    for channel, x in enumerate(current.transpose(0, 1) if per_channel else [current]):
        if (x > 0).any():
            best = best_uniform(empirical(x.cpu()), neuron.timesteps, float(neuron.v0)).levels[-1]
            thresholds[channel if per_channel else ...] = best
    parameter.copy_((thresholds / steps).log().expand_as(parameter))
