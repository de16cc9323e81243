"""Networks of stem, blocks and readout, whose activations may spike or not."""

from atif_lib.networks.activations import ACTIVATIONS, Activation
from atif_lib.networks.architectures import (
    NETWORKS,
    Cost,
    Layers,
    Network,
    Residual,
    Synapses,
    cost,
    neurons_of,
    resnet,
    resnet8,
    resnet18,
    set_timesteps,
    unfused,
    vgg,
    vgg16,
    vgg_small,
)

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "Activation",
    "Cost",
    "Layers",
    "Network",
    "Residual",
    "Synapses",
    "cost",
    "neurons_of",
    "resnet",
    "resnet8",
    "resnet18",
    "set_timesteps",
    "unfused",
    "vgg",
    "vgg16",
    "vgg_small",
]
