"""Activations by name: what makes the neurons, or the ReLUs, of a network's layers.

To add one of your own, add a line to ``ACTIVATIONS``.
"""

from typing import Protocol

import torch
from torch import nn

from atif_lib.neurons.atif import IF, ATIFnu, ATIFu, SafeATIFnu
from atif_lib.neurons.quantized_relu import QuantizedReLU

__all__ = ["ACTIVATIONS", "Activation"]


class Activation(Protocol):
    """A function that makes the activation of one layer.

    Args:
        channels: of the layer's input [T, N, C, H, W].
        timesteps: T of the network. What has no time may ignore it, and its network then runs once.
    """

    def __call__(self, channels: int, timesteps: int) -> nn.Module: ...


# The rows of the paper's ablation (Table 3), then ours, then atif-u with one thing changed, of which `absolute` is the
# paper's surrogate.
ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda channels, timesteps: nn.ReLU(),
    "if": lambda channels, timesteps: IF(timesteps, step_mode="m"),
    "atif-u": lambda channels, timesteps: ATIFu(timesteps, step_mode="m"),
    "atif-nu": lambda channels, timesteps: ATIFnu(timesteps, step_mode="m"),
    "atif-nu-safe": lambda channels, timesteps: SafeATIFnu(timesteps, step_mode="m"),
    "atif-u-half": lambda channels, timesteps: ATIFu(timesteps, v0=0.5, step_mode="m"),
    "quantized": lambda channels, timesteps: QuantizedReLU(timesteps),
    "quantized-half": lambda channels, timesteps: QuantizedReLU(timesteps, v0=0.5),
    "quantized-fixed": lambda channels, timesteps: QuantizedReLU(timesteps, learn=False),
    "quantized-8": lambda channels, timesteps: QuantizedReLU(8),
    "quantized-16": lambda channels, timesteps: QuantizedReLU(16),
    "atif-u-absolute": lambda channels, timesteps: ATIFu(timesteps, surrogate="absolute", slope=1.0, step_mode="m"),
    "atif-u-absolute-4": lambda channels, timesteps: ATIFu(timesteps, surrogate="absolute", slope=4.0, step_mode="m"),
    "atif-u-relative-1": lambda channels, timesteps: ATIFu(timesteps, surrogate="relative", slope=1.0, step_mode="m"),
    "atif-u-rate": lambda channels, timesteps: ATIFu(timesteps, surrogate="rate", step_mode="m"),
    "atif-u-v0": lambda channels, timesteps: ATIFu(timesteps, v0=0.25, learn_v0=True, step_mode="m"),
    "atif-u-channels": lambda channels, timesteps: ATIFu(timesteps, torch.ones(channels), step_mode="m"),
    "atif-u-charge": lambda channels, timesteps: ATIFu(timesteps, charge=True, step_mode="m"),
    "atif-u-all": lambda channels, timesteps: ATIFu(
        timesteps, torch.ones(channels), v0=0.25, learn_v0=True, charge=True, step_mode="m"
    ),
}
"""What makes the activation of a layer, by the name that an experiment calls it."""
