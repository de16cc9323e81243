"""torch's convolution, quick on a processor for small maps too."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

__all__ = ["Convolution"]

_SMALL = 16  # places of a map, 4x4, up to which one matrix product is quicker than torch's convolution


class Convolution(nn.Conv2d):
    """torch's ``Conv2d``; on a processor, in bfloat16, small maps go through one matrix product.

    oneDNN, which torch calls there, is slow for maps of 4x4 and 2x2 places with many channels, as in the last layers of
    ResNet-18 and VGG-16: for 512 channels a training step takes two (4x4) to nine (2x2) times as long as the product of
    the unfolded maps with the weights. Output and gradients are the same but for rounding.
    """

    def _get_name(self) -> str:
        return "Conv2d"  # what it computes, as print(network) shows it

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if self._fits(input) and bias is None:
            return _MatrixProduct.apply(input, weight)
        return super()._conv_forward(input, weight, bias)

    def _fits(self, x: Tensor) -> bool:
        types = {x.dtype, self.weight.dtype}
        cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        low = torch.float64 not in types if cast else types == {torch.bfloat16}  # autocast leaves float64 as it is
        plain = (self.kernel_size, self.stride, self.dilation) == ((3, 3), (1, 1), (1, 1))
        plain = plain and (self.padding, self.padding_mode) == ((1, 1), "zeros")
        small = x.dim() == 4 and x.shape[2] * x.shape[3] <= _SMALL and self.groups == 1
        return plain and small and low and x.device.type == "cpu" and not torch.compiler.is_compiling()


class _MatrixProduct(torch.autograd.Function):
    """Convolve maps [N, C, H, W] with weights [D, C, 3, 3], padded by 1, to [N, D, H, W] in bfloat16, channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, low = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, low)
        ctx.dtype = weight.dtype
        return _maps(_unfolded(x) @ low.permute(2, 3, 1, 0).flatten(0, 2), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        gradient, by_x, by_weight = gradient.bfloat16(), None, None
        if ctx.needs_input_grad[0]:  # convolve with the weights turned around
            by_x = _maps(_unfolded(gradient) @ weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2), x)
        if ctx.needs_input_grad[1]:
            product = gradient.movedim(1, 3).flatten(0, 2).T @ _unfolded(x)  # [D, 9 C]
            by_weight = product.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2).to(ctx.dtype)
        return by_x, by_weight


def _unfolded(x: Tensor) -> Tensor:
    """Return the 3x3 neighbourhood of each place, [N, C, H, W] to [N H W, 3 3 C]."""
    windows = pad(x.movedim(1, 3), (0, 0, 1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)  # [N, H, W, C, 3, 3]
    return windows.movedim(3, 5).flatten(3).flatten(0, 2)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows [N H W, D] as maps [N, D, H, W], channels last."""
    n, _, h, w = like.shape
    return rows.view(n, h, w, -1).movedim(3, 1)
