"""Networks that take their activation as an argument: the same weights spike or do not.

A network is a stem, blocks and a readout. The input is analog coded: the stem, all that comes before the first neurons,
sees it once, and its output is their constant current at every timestep (Rueckauer et al. 2017). The blocks work on
[T, N, C, H, W]; a network without neurons, such as one of ReLUs, is the case T = 1. Between two layers travel the
outputs of the activation: spikes in {0, 1} for a spiking neuron, so that a weight is added or it is not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from spikingjelly.activation_based import base, functional, layer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atif_lib import checks
from atif_lib.networks.activations import Activation
from atif_lib.networks.convolution import Convolution
from atif_lib.neurons.fused import Term, fusable
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.neurons.soft_reset import SoftResetNode

__all__ = [
    "NETWORKS",
    "Cost",
    "Layers",
    "Network",
    "Residual",
    "Synapses",
    "at_rest",
    "cost",
    "has_charges",
    "layer_name",
    "neurons_of",
    "resnet",
    "resnet8",
    "resnet18",
    "respond",
    "set_timesteps",
    "unfused",
    "unwrapped",
    "vgg",
    "vgg16",
    "vgg_small",
]

Join = Literal["current", "add", "iand"]


class Network(nn.Module):
    """Stem, blocks, readout: a classifier whose activations may spike.

    Its neurons are set to step mode ``'m'``.

    Args:
        stem: from the input to the constant current of the first neurons, computed once.
        blocks: from that current, repeated T times, to the last spikes; the first block is the first activation.
        channels: channels of the last spikes.
        classes: number of classes.
        timesteps: T. A network without spiking neurons has no time: its T is 1, whatever is given.

    Shapes: input [N, in_channels, H, W] to logits [N, classes].

    Raises:
        ValueError: ``timesteps`` is not a positive integer, or not that of the neurons.

    Source: Sections 3.1 and 4.1.
    """

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, channels: int, classes: int, timesteps: int) -> None:
        super().__init__()
        timesteps = checks.integer("timesteps", timesteps)
        self.stem, self.blocks = stem, blocks
        self.timesteps = timesteps if neurons_of(blocks) else 1
        self.readout = nn.Linear(channels, checks.integer("classes", classes))
        levels = [m.levels for m in blocks.modules() if isinstance(m, QuantizedReLU)]
        self.steps = levels[-1] if levels else self.timesteps  # of the count that a rate stands for
        others = {getattr(m, "timesteps", timesteps) for m in blocks.modules()} - {timesteps}
        if others:
            raise ValueError(
                f"timesteps={timesteps}; allowed: that of the neurons, {', '.join(map(str, sorted(others)))}"
            )
        for node in neurons_of(blocks).values():
            node.step_mode = "m"  # in "s", their default, the T timesteps would pass for one

    def spikes(self, x: Tensor) -> Tensor:
        """Last spikes, averaged over the places of each channel, [T, N, channels]."""
        return self.blocks(_constant(self.stem(x), self.timesteps)).flatten(3).mean(3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes]: a linear map of the spike counts.

        Not of the rates, which lie in [0, 1]: with those the logits stay small for long, and the network learns slowly.
        """
        return self.readout(self.steps * self.spikes(x).mean(0))

    def over_time(self, x: Tensor) -> Tensor:
        """Logits after 1, 2, ... T timesteps, [T, N, classes], for the counts that the rates so far would lead to."""
        spikes = self.spikes(x)
        counts = torch.arange(1, len(spikes) + 1, device=spikes.device).view(-1, 1, 1)
        return self.readout(self.steps * spikes.cumsum(0) / counts)


def vgg(
    plan: Sequence[int | str],
    activation: Activation,
    timesteps: int = 4,
    classes: int = 10,
    in_channels: int = 3,
    norm: bool = True,
) -> Network:
    """Convolution, batch norm, activation, again and again (Simonyan and Zisserman 2015); one linear readout.

    Args:
        plan: channels of each convolution, ``"pool"`` for a 2x2 max pool. Pools behind the first convolution are
            part of the stem; a max pool of spikes is a spike.
        activation: makes the activation of a layer, see :data:`atif_lib.networks.activations.Activation`.
        timesteps: T.
        classes: number of classes.
        in_channels: channels of the input.
        norm: a batch norm behind each convolution; without them the convolutions have a bias.

    Raises:
        ValueError: a plan that is empty, starts with a pool, or has anything but positive integers and ``"pool"``; or
            ``timesteps``, ``classes`` or ``in_channels`` that is no positive integer.
    """

    def node(channels: int) -> nn.Module:
        return activation(channels, timesteps)

    try:
        entries = [e if e == "pool" else checks.integer("plan", e) for e in plan]
    except ValueError:
        entries = []
    if not entries or entries[0] == "pool":
        raise ValueError(f"plan={[*plan]}; allowed: channels first, then channels and 'pool'")
    channels, *rest = entries
    assert isinstance(channels, int)
    stem = _stem(in_channels, channels, norm)
    while rest and rest[0] == "pool":
        stem.append(nn.MaxPool2d(2))
        rest = rest[1:]
    blocks: list[nn.Module] = [node(channels)]
    for width in rest:
        if isinstance(width, str):
            blocks.append(layer.SeqToANNContainer(nn.MaxPool2d(2)))
        else:
            blocks += Synapses(channels, width, norm=norm), node(width)
            channels = width
    return Network(stem, Layers(*blocks), channels, classes, timesteps)


class Synapses(layer.SeqToANNContainer):
    r"""Convolution and batch norm over all T·N maps: the current of a layer from the spikes of the one before.

    .. math:: i^l(t) = z^{l-1}(t)\, W^l + b^l

    Without a norm the convolution has a bias; with one the norm's shift is it.

    Shapes: [T, N, inputs, H, W] to [T, N, outputs, H / stride, W / stride], rounded up.

    Source: Eq. 3.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, norm: bool = True) -> None:
        convolution = Convolution(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not norm)
        super().__init__(convolution, *[nn.BatchNorm2d(outputs)] * norm)

    def term(self, z: Tensor) -> Term:
        """Return the maps of the convolution, and the norm that they have yet to pass."""
        maps, norm = functional.seq_to_ann_forward(z, self[0]), self[1]
        assert isinstance(maps, Tensor)
        assert isinstance(norm, nn.BatchNorm2d)
        return Term(maps, norm)


class Layers(nn.Sequential):
    r"""Modules one after the other, :math:`y^l = h(x^l W^l + b^l)` where they are synapses and their activation.

    A neuron that is fused takes over the norm before it.

    Source: Eq. 1.
    """

    def forward(self, z: Tensor) -> Tensor:
        """Output of the last."""
        modules = list(self)
        while modules:
            module = modules.pop(0)
            z = respond(modules.pop(0), (module, z)) if modules and isinstance(module, Synapses) else module(z)
        return z


def respond(activation: nn.Module, *paths: tuple[nn.Module, Tensor]) -> Tensor:
    """Return the answer of an activation to the sum of the currents of some paths, each a module and its input.

    A neuron fused by :func:`atif_lib.training.execution.compile_neurons` takes the norms of the paths into its kernel.
    """
    if not getattr(activation, "fused", False):
        currents = [module(z) for module, z in paths]
        return activation(sum(currents[1:], currents[0]))
    terms = []
    for module, z in paths:
        module = module[0] if isinstance(module, Layers) and len(module) == 1 else module
        fits = type(module) is Synapses and len(module) == 2 and fusable(module[1])  # a subclass may compute otherwise
        terms.append(module.term(z) if isinstance(module, Synapses) and fits else Term(module(z)))
    return activation(*terms)


class Residual(nn.Module):
    r"""Two convolutions and a shortcut past them (He et al. 2016).

    Args:
        inputs: channels of the incoming spikes.
        outputs: channels of the outgoing ones.
        stride: of the first convolution; with a stride or new channels the shortcut is a 1x1 convolution.
        activation: makes an activation from its number of channels alone.
        join: where the two paths meet. ``'current'``: before the last neuron, :math:`z = \mathrm{IF}(f(z') + z')`;
            its output is binary. The other two meet behind it (SEW, Fang et al. 2021), with f the last neuron's
            spikes: ``'add'``, :math:`z = f + z'`, whose values grow with depth, so that the next layer has to
            multiply; ``'iand'``, :math:`z = (1 - f)\, z'`, binary, which neurons with ``charge`` are not.

    Shapes: [T, N, inputs, H, W] to [T, N, outputs, H / stride, W / stride].

    Raises:
        ValueError: an unknown ``join``; ``'iand'`` with neurons that have ``charge``.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: Callable[[int], nn.Module], join: Join = "current"
    ) -> None:
        super().__init__()
        checks.choice("join", join, get_args(Join))
        self.join = join
        self.first = Layers(Synapses(inputs, outputs, stride=stride), activation(outputs))
        self.second = Synapses(outputs, outputs)
        self.last = activation(outputs)
        self.shortcut = Layers()
        if stride > 1 or inputs != outputs:
            self.shortcut.append(Synapses(inputs, outputs, kernel=1, stride=stride))
            if join != "current":  # the paths meet as spikes
                self.shortcut.append(activation(outputs))
        if join == "iand" and has_charges(self):
            raise ValueError("join='iand' of neurons with charge=True; allowed: 'current', 'add', or charge=False")

    def forward(self, z: Tensor) -> Tensor:
        """Spikes of the block."""
        path = self.second, self.first(z)
        if self.join == "current":
            return respond(self.last, path, (self.shortcut, z))
        f, shortcut = respond(self.last, path), self.shortcut(z)
        return f + shortcut if self.join == "add" else (1 - f) * shortcut

    def extra_repr(self) -> str:
        """Options, as they show in ``print(network)``."""
        return f"join={self.join!r}"


def resnet(
    widths: Sequence[int],
    depth: int,
    activation: Activation,
    timesteps: int = 4,
    classes: int = 10,
    in_channels: int = 3,
    join: Join = "current",
    pool: bool = False,
) -> Network:
    """Stages of residual blocks behind an un-strided 3x3 stem, as is usual for 32x32 images (He et al. 2016).

    Args:
        widths: channels of each stage; every stage but the first halves the image.
        depth: blocks in a stage.
        activation: makes the activation of a layer, see :data:`atif_lib.networks.activations.Activation`.
        timesteps: T.
        classes: number of classes.
        in_channels: channels of the input.
        join: see :class:`Residual`.
        pool: halve the stem's current by a max pool.

    Raises:
        ValueError: no width, one that is no positive integer, or a depth that is none; the same of ``timesteps``,
            ``classes`` and ``in_channels``; ``join`` as for :class:`Residual`.
    """
    if not widths:
        raise ValueError("widths=[]; allowed: the channels of one stage or more")
    widths, depth = [checks.integer("widths", width) for width in widths], checks.integer("depth", depth)
    stem = _stem(in_channels, widths[0])
    if pool:
        stem.append(nn.MaxPool2d(2))

    def node(channels: int) -> nn.Module:
        return activation(channels, timesteps)

    blocks, channels = [node(widths[0])], widths[0]
    for stage, width in enumerate(widths):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            blocks.append(Residual(channels, width, stride, node, join))
            channels = width
    return Network(stem, Layers(*blocks), channels, classes, timesteps)


def vgg16(
    activation: Activation, timesteps: int = 4, classes: int = 10, in_channels: int = 3, norm: bool = True
) -> Network:
    """VGG-16 for 32x32 images: 13 convolutions in five groups; of its three linear layers the last."""
    groups = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    plan = [entry for group in groups for entry in (*group, "pool")]
    return vgg(plan, activation, timesteps, classes, in_channels, norm)


def vgg_small(
    activation: Activation, timesteps: int = 4, classes: int = 10, in_channels: int = 3, norm: bool = True
) -> Network:
    """Four convolutions of 16 to 64 channels: VGG at a size that a laptop trains (61,000 weights)."""
    return vgg([16, "pool", 32, "pool", 64, "pool", 64], activation, timesteps, classes, in_channels, norm)


def resnet18(
    activation: Activation, timesteps: int = 4, classes: int = 10, in_channels: int = 3, join: Join = "current"
) -> Network:
    """ResNet-18 for 32x32 images: two residual blocks each of 64, 128, 256 and 512 channels."""
    return resnet([64, 128, 256, 512], 2, activation, timesteps, classes, in_channels, join)


def resnet8(
    activation: Activation, timesteps: int = 4, classes: int = 10, in_channels: int = 3, join: Join = "current"
) -> Network:
    """One residual block each of 16, 32 and 64 channels behind a pooled stem: ResNet at a laptop's size."""
    return resnet([16, 32, 64], 1, activation, timesteps, classes, in_channels, join, pool=True)


NETWORKS: dict[str, Callable[..., Network]] = {
    "vgg16": vgg16,
    "resnet18": resnet18,
    "resnet18-half": partial(resnet, [32, 64, 128, 256], 2),
    "small": vgg_small,
    "small-plain": partial(vgg_small, norm=False),
    "resnet8": resnet8,
    "resnet8-add": partial(resnet8, join="add"),
    "resnet8-iand": partial(resnet8, join="iand"),
}
"""What builds a network, by the name that an experiment calls it."""


def set_timesteps(network: Network, timesteps: int) -> None:
    """Run a trained network for another number of timesteps.

    Without neurons its T stays 1.

    Raises:
        ValueError: not an integer of 1 or more, or not the T of neurons, or of charges folded into weights, that
            differ from timestep to timestep.
    """
    timesteps, before = checks.integer("timesteps", timesteps), network.timesteps
    if not neurons_of(network):
        return
    for module in network.modules():
        fixed = getattr(module, "fixed_timesteps", timesteps)
        if fixed != timesteps:
            kind = type(module).__name__
            raise ValueError(f"timesteps={timesteps}: {kind} has a weight for each of its {fixed} timesteps")
    counting: list[Any] = [m for m in network.modules() if hasattr(m, "timesteps")]
    for module in counting:
        module.timesteps = timesteps
    for node in counting:
        if isinstance(node, SoftResetNode) and len(node.thresholds) != timesteps:
            for module in counting:
                module.timesteps = before
            raise ValueError(
                f"timesteps={timesteps}: {type(node).__name__} has a threshold for each of its {before} timesteps"
            )


@contextmanager
def unfused(network: nn.Module) -> Iterator[None]:
    """Let fused neurons run as they are written for a while: what looks at their inputs then sees currents."""
    # By the switch: a neuron that holds a membrane runs as it is written anyway, but is fused again once it is reset.
    fused: list[Any] = [m for m in network.modules() if getattr(m, "_fused", False)]
    for module in fused:
        module.fused = False
    try:
        yield
    finally:
        for module in fused:
            module.fused = True


@contextmanager
def at_rest(network: nn.Module, training: bool) -> Iterator[None]:
    """Put a network into training or evaluation mode for a while, its membranes at rest before and behind.

    Afterwards each module has its own mode again: a norm that was frozen is frozen still.
    """
    before = {module: module.training for module in network.modules()}
    functional.reset_net(network.train(training))
    try:
        yield
    finally:
        functional.reset_net(network)
        for module, mode in before.items():
            module.training = mode


class Cost(NamedTuple):
    """Trainable parameters, and multiply-accumulates for one input, all T timesteps counted, the stem once."""

    parameters: int
    macs: int


@torch.no_grad()
def cost(network: Network, shape: Sequence[int]) -> Cost:
    """Count parameters and multiply-accumulates for one input of ``shape`` [C, H, W].

    Behind the stem the convolutions of a spiking network add a weight where there is a spike and do nothing else: of
    the MACs of each, the share of ones at its input are additions done.
    """
    with at_rest(network, training=False), FlopCounterMode(display=False) as counter:
        network(next(network.parameters()).new_zeros(1, *shape))
    return Cost(sum(p.numel() for p in network.parameters() if p.requires_grad), counter.get_total_flops() // 2)


def neurons_of(network: nn.Module) -> dict[str, base.MemoryModule]:
    """Spiking neurons of a network by name, ours and SpikingJelly's; its layers with a memory, as Dropout, are none."""
    found = ((name, m) for name, m in network.named_modules() if isinstance(m, base.MemoryModule))
    return {layer_name(name): m for name, m in found if not type(m).__module__.startswith(layer.__name__)}


def has_charges(module: nn.Module) -> bool:
    """Tell whether spikes of its neurons are worth their charge, so that they are no zeros and ones."""
    return any(getattr(m, "charge", False) for m in neurons_of(module).values())


def layer_name(name: str) -> str:
    """Name of a layer as in ``state_dict``, without the wrappers of checkpointing (``save_memory``, ``memopt``)."""
    return f"{name}.".replace("_checkpoint_wrapped_module.", "")[:-1]


def unwrapped(block: nn.Module) -> nn.Module:
    """Return a block without the wrapper of :func:`atif_lib.training.execution.save_memory`, if it has one."""
    return getattr(block, "_checkpoint_wrapped_module", block)


def _constant(current: Tensor, timesteps: int) -> Tensor:
    """Return the current [N, C, H, W] at every timestep; its gradient keeps its layout, in which norms are fast."""
    if current.is_contiguous():
        return current.expand(timesteps, *current.shape)
    return current.movedim(1, -1).expand(timesteps, -1, -1, -1, -1).movedim(-1, 2)


def _stem(inputs: int, outputs: int, norm: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(checks.integer("in_channels", inputs), outputs, 3, padding=1, bias=not norm)
    return nn.Sequential(convolution, *[nn.BatchNorm2d(outputs)] * norm)
