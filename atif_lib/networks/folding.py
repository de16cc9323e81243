"""Charges folded into weights: what a spike is worth moves from the neuron that sends it to the synapse behind it."""

import copy

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from atif_lib.networks.architectures import Network, Residual, has_charges, unwrapped
from atif_lib.neurons.soft_reset import SoftResetNode

__all__ = ["fold"]


def fold(network: Network) -> Network:
    r"""Return an equal network whose spikes are binary: the charges :math:`V_{th}(t)\, z(t)` are in its weights.

    .. math:: \sum_c w_{oc} \left( V_c(t)\, z_c(t) \right) = \sum_c \left( w_{oc} V_c(t) \right) z_c(t)

    A max pool between the two stays where it is, for charges are positive. Where thresholds change with the timestep,
    a convolution becomes T convolutions. An identity shortcut becomes a weight for each channel. The readout, a linear
    map of sums over time, takes charges that are constant; others stay a factor of each timestep before it.

    Args:
        network: its neurons may have the option ``charge``; one without any is copied. In training mode too the
            two are equal, but the weights of the copy are those of now: fold after training.

    Returns:
        A copy, whose neurons all have ``charge=False``.

    Raises:
        ValueError: a residual block whose paths meet behind the neurons, for sums of charges have no binary form; a
            block of another kind than those of this library that receives charges or has neurons with ``charge``;
            synapses that receive charges and begin with anything but a convolution with ``groups=1``, or with one whose
            weight is parametrized.
    """
    folded = copy.deepcopy(network)
    for name, block in folded.blocks.named_children():  # of `save_memory`, which is for training
        setattr(folded.blocks, name, unwrapped(block))
    charges = None  # of the spikes that go into the next block, [T] or [T, C]
    for block in folded.blocks:
        charges = _fold_block(block, charges)
    if charges is not None and _constant(charges):
        folded.readout.weight.data *= charges[0]
    elif charges is not None:
        folded.blocks.append(Charges(charges))
    return folded


class Charges(nn.Module):
    """A fixed weight for each timestep and channel: [T, N, C, *] to the same.

    Where all timesteps have the same, one row of them is kept, which fits any T.
    """

    charges: Tensor

    def __init__(self, charges: Tensor) -> None:
        super().__init__()
        constant = _constant(charges)
        self.register_buffer("charges", charges[:1] if constant else charges)
        if not constant:
            self.fixed_timesteps = len(charges)  # the only T that it is for

    def forward(self, z_seq: Tensor) -> Tensor:
        """Weighted spikes."""
        charges = self.charges.view(len(self.charges), 1, -1, *[1] * (z_seq.dim() - 3))
        return (charges * z_seq).to(z_seq.dtype)


class TimedConv(nn.Module):
    """A convolution for each timestep: maps [T·N, C, H, W], as all T of them are laid out, to the same."""

    def __init__(self, conv: nn.Conv2d, charges: Tensor) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_scaled(copy.deepcopy(conv), charge) for charge in charges)
        self.fixed_timesteps = len(charges)

    def forward(self, z: Tensor) -> Tensor:
        """Currents."""
        parts = z.chunk(len(self.steps))
        return torch.cat([conv(part) for conv, part in zip(self.steps, parts, strict=True)])


def _fold_block(block: nn.Module, charges: Tensor | None) -> Tensor | None:
    """Fold charges that come in; return those that go out."""
    if isinstance(block, Residual):
        return _fold_residual(block, charges)
    if isinstance(block, layer.SeqToANNContainer):
        if all(isinstance(module, nn.MaxPool2d) for module in block):
            return charges
        _fold_synapses(block, charges)
        return None
    if charges is not None:
        raise ValueError(_unknown(block))
    return _take_charges(block)


def _fold_residual(block: Residual, charges: Tensor | None) -> Tensor | None:
    if block.join != "current" and (charges is not None or has_charges(block)):
        raise ValueError(f"join={block.join!r} with charges; allowed: 'current', where paths meet as currents")
    _fold_synapses(block.first[0], charges)
    _fold_synapses(block.second, _take_charges(block.first[1]))
    if len(block.shortcut):
        _fold_synapses(block.shortcut[0], charges)
    elif charges is not None:
        block.shortcut.append(Charges(charges))
    return _take_charges(block.last)


def _fold_synapses(synapses: nn.Module, charges: Tensor | None) -> None:
    if charges is None:
        return
    if not isinstance(synapses, layer.SeqToANNContainer):
        raise ValueError(_unknown(synapses))
    conv = synapses[0]
    if not isinstance(conv, nn.Conv2d) or conv.groups != 1:
        kind = f"Conv2d with groups={conv.groups}" if isinstance(conv, nn.Conv2d) else type(conv).__name__
        raise ValueError(f"synapses that receive charges begin with {kind}; allowed: Conv2d with groups=1")
    if "weight" not in dict(conv.named_parameters(recurse=False)):
        raise ValueError("synapses whose weight is parametrized; allowed: a convolution that owns it")
    synapses[0] = _scaled(conv, charges[0]) if _constant(charges) else TimedConv(conv, charges)


def _scaled(conv: nn.Conv2d, charge: Tensor) -> nn.Conv2d:
    conv.weight.data *= charge.view(-1, 1, 1)  # of the input channels; [O, C, k, k]
    return conv


def _take_charges(neuron: nn.Module) -> Tensor | None:
    """Make the neuron's spikes binary; return what each was worth, None for 1."""
    if not has_charges(neuron):
        return None
    if not isinstance(neuron, SoftResetNode):
        raise ValueError(_unknown(neuron))
    neuron.charge = False
    return neuron.thresholds.detach().clone()


def _unknown(block: nn.Module) -> str:
    return f"block of type {type(block).__name__}; allowed: Synapses, Residual, a max pool, a neuron"


def _constant(charges: Tensor) -> bool:
    return bool((charges == charges[0]).all())
