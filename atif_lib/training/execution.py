"""How a network is executed: fused, with less memory, in which precision, by several processes."""

import dataclasses
import os
import warnings
from functools import partial
from itertools import chain

import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators.mps import MPSAccelerator
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.memopt import BooleanSpikeCompressor, checkpoint_module
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper, checkpoint_wrapper
from torch.distributed.nn.functional import all_reduce
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from atif_lib.networks.architectures import Network, Residual, neurons_of
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.neurons.soft_reset import SoftResetNode
from atif_lib.training.recipe import Recipe

__all__ = [
    "accelerator",
    "any_process",
    "compile_neurons",
    "has_bfloat16",
    "processes",
    "recipe_here",
    "save_memory",
    "saves_memory",
    "sync_norms",
]

# What a launcher that is not torchrun says of several processes, and the most that one process alone would see.
_ALONE = {"WORLD_SIZE": 1, "RANK": 0, "SLURM_NTASKS": 1, "OMPI_COMM_WORLD_SIZE": 1, "PMI_SIZE": 1}


def compile_neurons(network: nn.Module) -> None:
    """Compute each neuron, with the batch norms before it, by the kernels of :mod:`atif_lib.neurons.fused`.

    And each `QuantizedReLU` by one kernel in place of ten passes over memory.

    Spikes and gradients stay as they are, within the rounding of the precision. A fused neuron keeps no membrane, which
    energy profilers ask for (see :func:`atif_lib.networks.unfused`); with ``store_v_seq`` it runs unfused by itself. In
    low precision it does not round its current. Where torch cannot compile, the network is left as it is; so are
    neurons that are not :attr:`~atif_lib.neurons.soft_reset.SoftResetNode.fusable`, and those of other libraries.
    """
    found = [m for m in neurons_of(network).values() if isinstance(m, SoftResetNode) and m.fusable]
    quantized = [m for m in network.modules() if isinstance(m, QuantizedReLU)]
    if not found and not quantized:
        return
    try:
        device = next(chain(network.parameters(), network.buffers())).device
        torch.compile(lambda x: x + 1)(torch.ones(1, device=device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        warnings.warn(f"the neurons run uncompiled, and slower: torch.compile fails here ({reason})", stacklevel=2)
        return
    for module in found:
        module.fused = True
    for activation in quantized:
        activation.compiled = True


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16. Those without imitate it, and are slower than in float32.

    So do processors without AVX-512 or Arm's BF16 extension, as most laptops have them, and NVIDIA's GPUs before
    Ampere, among them Colab's T4.
    """
    if device.type == "cpu":  # torch has no public name for it
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def accelerator() -> str:
    """Name the kind of device that trains here: ``"cuda"``, ``"mps"`` for one process alone, else ``"cpu"``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if processes() == (1, 1) and MPSAccelerator.is_available() else "cpu"  # a Mac's one GPU is not shared


def recipe_here(recipe: Recipe) -> Recipe:
    """Return a recipe in the precision that this machine is quick in: float32 instead of an imitated bfloat16."""
    if recipe.precision != "bf16-mixed" or has_bfloat16(torch.device(accelerator())):
        return recipe
    return dataclasses.replace(recipe, precision="32-true")


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
    if saves_memory(network):
        raise ValueError("network saves memory already; allowed: one call of save_memory")
    if not any(isinstance(m, Residual) for m in network.blocks):
        raise ValueError(f"network of {[type(m).__name__ for m in network.blocks]}; allowed: one with residual blocks")
    binary = False  # what comes into a block: zeros and ones, or other numbers, which no byte holds
    for name, block in list(network.blocks.named_children()):
        if isinstance(block, Residual):
            compressor = BooleanSpikeCompressor() if binary else None
            network.blocks.register_module(name, checkpoint_wrapper(block, checkpoint_fn=_run, compressor=compressor))
        binary = _puts_out_zeros_and_ones(block, binary)


def saves_memory(network: Network) -> bool:
    """Tell whether `save_memory` has changed a network."""
    return any(isinstance(m, CheckpointWrapper) for m in network.blocks)


def _puts_out_zeros_and_ones(block: nn.Module, binary: bool) -> bool:
    """Tell whether a block of a network is known to put out nothing else, where ``binary`` says so of its input."""
    if isinstance(block, Residual):
        shortcut = _sends_zeros_and_ones(block.shortcut[-1]) if len(block.shortcut) else binary
        return _sends_zeros_and_ones(block.last) and (block.join == "current" or (block.join == "iand" and shortcut))
    if isinstance(block, layer.SeqToANNContainer):
        return binary and all(isinstance(m, nn.MaxPool2d) for m in block)
    return _sends_zeros_and_ones(block)


def _sends_zeros_and_ones(module: nn.Module) -> bool:
    """Tell whether a module is a neuron known to: one of ours without charge, or SpikingJelly's plainest.

    Others of SpikingJelly count, or send -1, too; and nobody knows of a reader's own.
    """
    known = type(module).__module__.startswith("atif_lib.") or type(module) in _BINARY
    spiking = getattr(getattr(module, "surrogate_function", None), "spiking", False)
    return known and bool(spiking) and not getattr(module, "charge", False)


_BINARY = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode)
# What `networks.convolution` computes a convolution by: torch's own, and matrix products in bfloat16 on a processor.
_CONVOLUTIONS = [torch.ops.aten.convolution.default, torch.ops.aten.mm.default]


def _run(block: nn.Module, *inputs: Tensor, compressor: BooleanSpikeCompressor | None) -> Tensor:
    """Run a block that is computed again in the backward pass.

    What `checkpoint_module` returns holds on to the block that it was made for, in a copy too; so it is made anew.
    """
    keep = partial(create_selective_checkpoint_contexts, _CONVOLUTIONS)
    return checkpoint_module(block, compressor=compressor)(*inputs, context_fn=keep)


def sync_norms(network: nn.Module) -> None:
    """Let every batch norm take its mean and variance over all processes; the network is changed in place.

    Raises:
        ValueError: a batch norm other than ``BatchNorm2d`` with weights and running averages.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        known = type(norm) in (nn.BatchNorm2d, _SyncedBatchNorm2d)
        if not known or not norm.affine or not norm.track_running_stats:
            raise ValueError(f"{norm} in several processes; allowed: BatchNorm2d with weights and running averages")
    for norm in norms:
        norm.__class__ = _SyncedBatchNorm2d


class _SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes, for equal shares of a batch. torch's own, SyncBatchNorm, refuses the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = all_reduce(wide.mean((0, 2, 3))) / torch.distributed.get_world_size()
        deviation = wide - mean[:, None, None]
        var = all_reduce(deviation.square().mean((0, 2, 3))) / torch.distributed.get_world_size()
        n = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            rate = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(var * n / (n - 1), rate)
        scale = self.weight * (var + self.eps).rsqrt()
        return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Tell whether the flag is set in any process, so that all of them stop after the same update or none does."""
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="max"))


def processes() -> tuple[int, int]:
    """Return the processes on each machine, and the machines, that torchrun started for one training; (1, 1) without.

    Raises:
        RuntimeError: another launcher started several processes, each of which would train the whole; or machines with
            different numbers of processes.
    """
    if TorchElasticEnvironment.detect():
        here, machines, total = (int(os.environ[f"{name}WORLD_SIZE"]) for name in ("LOCAL_", "GROUP_", ""))
        if here * machines != total:
            shown = f"LOCAL_WORLD_SIZE={here} on one of {machines} machines with {total} processes"
            raise RuntimeError(f"{shown}; allowed: equal numbers, by the same --nproc-per-node on each machine")
        return here, machines
    for name, most in _ALONE.items():
        if int(os.environ.get(name) or 0) > most:
            raise RuntimeError(
                f"{name}={os.environ[name]} without torchrun; allowed: one process, or several by torchrun, "
                'as README.md says under "Several machines" (on SLURM: `srun --ntasks 1`, or `srun torchrun`)'
            )
    return 1, 1
