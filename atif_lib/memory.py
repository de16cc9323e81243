"""Train with less memory: keep what is small or dear, make the rest again in the backward pass."""

from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based.memopt import BooleanSpikeCompressor, checkpoint_module
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from atif_lib.networks import Network, Residual, neurons

__all__ = ["save_memory"]


def save_memory(network: Network) -> None:
    """Let each residual block keep only its input, spikes as bytes, and the outputs of its convolutions.

    Batch norms, membranes and inner spikes are computed again in the backward pass; convolutions, which are dear, are
    not. Outputs, gradients and the weights' names stay as they are. Call it after `compile_neurons`.

    Args:
        network: changed in place.

    Raises:
        ValueError: a network without residual blocks, or one that saves memory already.

    Source: checkpoints by Chen et al. 2016; SpikingJelly's keep running means and membranes from counting twice.
    """
    blocks = {name: m for name, m in network.blocks.named_children() if isinstance(m, Residual)}
    if not blocks:
        raise ValueError(f"network must have residual blocks, got {[type(m).__name__ for m in network.blocks]}")
    for name, block in blocks.items():
        binary = bool(neurons(block)) and block.join != "add"  # else numbers travel, which no byte holds
        kept = checkpoint_module(block, compressor=BooleanSpikeCompressor() if binary else None)
        kept.register_forward_pre_hook(_keep_convolutions, with_kwargs=True)
        network.blocks.register_module(name, kept)


def _keep_convolutions(block: nn.Module, inputs: tuple, options: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    keep = partial(create_selective_checkpoint_contexts, [torch.ops.aten.convolution.default])
    return inputs, options | {"context_fn": keep}
