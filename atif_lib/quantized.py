"""A ReLU that is rounded as a spiking neuron rounds, but in one step: quantization without time."""

import torch
from torch import Tensor, nn

__all__ = ["QuantizedReLU"]


class QuantizedReLU(nn.Module):
    r"""The staircase of a soft-reset neuron under a constant current, with a learned threshold and no timesteps.

    .. math:: \hat x = \frac{V_{th}}{T}\, \min\{T, \max\{0, \lfloor T x / V_{th} + v_0 \rfloor\}\}, \qquad V_{th} = e^w

    The floor counts as the identity in the backward pass, as in learned step size quantization (Esser et al. 2020). A
    network of these has the quantization error of its spiking twin and nothing else of it: neither uneven spike trains
    nor surrogate gradients through time. What is between the two networks' accuracies is what time costs.

    Args:
        levels: T, so many steps above 0.
        threshold: initial :math:`V_{th}`, positive.
        v0: shift of the transitions in steps; 0 rounds down, 0.5 to the nearest.

    Shapes: any, unchanged.

    Raises:
        ValueError: ``levels < 1``, a threshold that is not positive, or ``v0`` outside [0, 1].
    """

    def __init__(self, levels: int = 4, threshold: float = 1.0, v0: float = 0.0) -> None:
        super().__init__()
        if levels < 1 or not threshold > 0 or not 0 <= v0 <= 1:
            raise ValueError(
                f"levels={levels}, threshold={threshold}, v0={v0}; allowed: at least 1, positive, and from 0 to 1"
            )
        self.levels, self.v0 = levels, v0
        self.log_threshold = nn.Parameter(torch.tensor(float(threshold)).log())

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized ReLU of x."""
        step = self.log_threshold.exp() / self.levels
        q = x / step + self.v0
        return ((q + (q.floor() - q).detach()).clamp(0, self.levels) * step).to(x.dtype)
