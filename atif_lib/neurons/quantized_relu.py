"""A ReLU that is rounded as a spiking neuron rounds, but in one step: quantization without time."""

import math

import torch
from torch import Tensor, nn

from atif_lib import checks
from atif_lib.neurons.atif import bounded_exp, learned_log
from atif_lib.neurons.fused import compiled
from atif_lib.quantization.uniform import check_start

__all__ = ["QuantizedReLU"]


class QuantizedReLU(nn.Module):
    r"""The firing rate of a soft-reset neuron under a constant current, with a learned threshold and no timesteps.

    .. math:: y = \frac{1}{T} \min\{T, \max\{0, \lfloor T x / V_{th} + v_0 \rfloor\}\}, \qquad V_{th} = e^w

    The floor counts as the identity in the backward pass, as in learned step size quantization (Esser et al. 2020). A
    network of these has the quantization error of its spiking twin, a network of :class:`atif_lib.neurons.ATIFu` (or
    IF, where the threshold is fixed), and nothing else of it: neither uneven spike trains nor surrogate gradients
    through time. The two have the same parameters by the same names, so that the one's ``state_dict`` is a start for
    training the other.

    Args:
        timesteps: T of the spiking twin: T steps above 0.
        threshold: initial :math:`V_{th}`, positive. A learned one always stays from 1e-6 to 1e6, as the twin's does.
        v0: shift of the transitions in steps; 0 rounds down, 0.5 to the nearest.
        learn: learn the threshold; a fixed one is that of :class:`atif_lib.neurons.IF`.

    Shapes: any; the output has that of the input and values 0, 1/T, ... 1.

    Raises:
        ValueError: ``timesteps`` is no integer of at least 1, the threshold is not positive or has a gradient, one
            to be learned is beyond its bounds, or ``v0`` is outside [0, 1].
        TypeError: on a call, an input that is not floating point.

    Source: Eqs 6 and 7; Li et al. (2022) convert such a network.
    """

    threshold: Tensor  # where it is fixed; else there is log_threshold
    compiled = False
    """Whether one kernel computes the same rates, see :func:`atif_lib.training.execution.compile_neurons`."""

    def __init__(self, timesteps: int = 4, threshold: float = 1.0, v0: float = 0.0, learn: bool = True) -> None:
        super().__init__()
        timesteps, v0 = checks.integer("timesteps", timesteps), check_start(v0)
        threshold = checks.number("threshold", threshold)
        kept = torch.tensor(threshold)  # float32 makes 0 of the smallest numbers
        if not 0 < kept < math.inf:
            raise ValueError(f"threshold={threshold}; allowed: a positive, finite number")
        self.levels, self.v0 = timesteps, v0
        if checks.boolean("learn", learn):
            self.log_threshold = nn.Parameter(learned_log(threshold))
        else:
            self.register_buffer("threshold", kept)

    @property
    def learns(self) -> bool:
        """Whether the threshold is learned."""
        return hasattr(self, "log_threshold")

    @property
    def v_threshold(self) -> Tensor:
        """The threshold as it is now, learned or fixed, by SpikingJelly's name; to be read only."""
        return bounded_exp(self.log_threshold) if self.learns else self.threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the rates of inputs x."""
        if not x.is_floating_point():
            raise TypeError(f"input of type {x.dtype}; allowed: floating point")
        rates = compiled(_rates) if self.compiled else _rates
        return rates(x, self.v_threshold, self.levels, self.v0)

    def extra_repr(self) -> str:
        """Options, as they show in ``print(network)``."""
        return f"timesteps={self.levels}, v0={self.v0:.4g}, learn={self.learns}"


def _rates(x: Tensor, threshold: Tensor, levels: int, v0: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, threshold.dtype))  # in bfloat16 some inputs would miss their level
    q = (levels * wide / threshold + v0).clamp(0, levels)
    return ((q + (q.floor() - q).detach()) / levels).to(x.dtype)
