"""Networks that take their activation as an argument: the same weights spike or do not.

Every layer takes [T, N, *]. A ReLU network is the case T = 1. Between two layers travel the outputs of the
activation: spikes in {0, 1} for a spiking neuron, so that a weight is added or it is not.
"""

from collections.abc import Callable, Sequence

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from atif_lib.neurons import IF, ATIFnu, ATIFu

__all__ = ["ACTIVATIONS", "VGG", "vgg_small"]

Activation = Callable[[int], nn.Module]

# One activation for each row of the paper's ablation (Table 3), made for a layer of so many channels.
ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda channels: nn.ReLU(),
    "if": lambda channels: IF(step_mode="m"),
    "atif-u": lambda channels: ATIFu(step_mode="m"),
    "atif-nu": lambda channels: ATIFnu(step_mode="m"),
}


class VGG(nn.Module):
    """Convolution, batch norm, activation, again and again; a max pool where the picture halves; a linear readout.

    The input is analog coded: the stem, all that comes before the first neurons, sees the picture once, and its
    output is their constant current at every timestep (Rueckauer et al. 2017). All other norms average over T·N. A
    max pool of spikes is a spike, so every later convolution adds weights and multiplies nothing. The readout takes
    the mean over time and place of the last spikes.

    Args:
        plan: channels of each convolution, ``"pool"`` for a 2x2 max pool.
        activation: makes the activation of a layer from its number of channels.
        timesteps: T, how often the constant current is presented; 1 for ReLU.
        classes: number of classes.
        in_channels: channels of the picture.

    Shapes: picture [N, in_channels, H, W] to logits [N, classes].

    Source: Sections 3.1 and 4.1; Simonyan and Zisserman 2015.
    """

    def __init__(
        self,
        plan: Sequence[int | str],
        activation: Activation,
        timesteps: int = 4,
        classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.timesteps = timesteps
        first, *rest = plan
        self.stem = nn.Sequential(nn.Conv2d(in_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first))
        while rest and rest[0] == "pool":
            self.stem.append(nn.MaxPool2d(2))
            rest = rest[1:]
        blocks, channels = [activation(first)], first
        for width in rest:
            if width == "pool":
                blocks.append(layer.MaxPool2d(2, step_mode="m"))
            else:
                blocks += _conv_norm(channels, width), activation(width)
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.readout = nn.Linear(channels, classes)

    def forward(self, picture: Tensor) -> Tensor:
        """Logits [N, classes] of pictures [N, in_channels, H, W]."""
        current = self.stem(picture)
        spikes = self.blocks(current.expand(self.timesteps, *current.shape))
        return self.readout(spikes.mean((0, 3, 4)))


def vgg_small(activation: Activation, timesteps: int = 4, classes: int = 10, in_channels: int = 3) -> VGG:
    """Four convolutions of 16 to 64 channels: VGG at a size that a laptop trains (61,000 weights)."""
    plan = [16, "pool", 32, "pool", 64, "pool", 64]
    return VGG(plan, activation, timesteps, classes, in_channels)


def _conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        layer.Conv2d(inputs, outputs, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(outputs, step_mode="m"),
    )
