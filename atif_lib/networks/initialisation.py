"""Where a network starts: thresholds where the data want them, weights from a network of another activation."""

import math
from collections.abc import Iterable, Mapping
from itertools import chain

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from atif_lib.networks.architectures import (
    Network,
    Residual,
    Synapses,
    at_rest,
    has_charges,
    layer_name,
    neurons_of,
    unfused,
    unwrapped,
)
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.quantization.density import empirical
from atif_lib.quantization.families import best_uniform

__all__ = ["estimate_norms", "scale_from_data", "start_from_data", "start_from_network"]

_SAMPLES = 2**18  # currents of the batch that a threshold is fitted to, drawn at random


@torch.no_grad()
def start_from_data(network: Network, inputs: Tensor) -> None:
    r"""Set every threshold, learned or fixed, to the optimum of its measured input, for the neuron's own T and V(0).

    .. math:: V_{th} = \arg\max_V \mathrm{SQNR}\left(\mathrm{ReLU}(\bar x), \hat x_V(\bar x)\right), \qquad
        \bar x = \frac{1}{T} \sum_{t=1}^{T} x(t)

    Layer by layer in the order of the network, so that each sees the spikes of those before it as they are then. The
    quantizer is the uniform one of a constant current. :class:`~atif_lib.neurons.ATIFnu` starts at the same optimum,
    its p evenly spaced: with these its thresholds do make the steps at p, with others they rarely do. A threshold for
    the layer sees the currents of the whole layer, one for a channel those of its channel. Where no current is positive
    it stays as it is.

    Batch norms use this batch's mean and variance, as in training; their running averages are left as they were.

    Args:
        network: changed in place; its activations are IF, ATIFu, ATIFnu, or QuantizedReLU with a learned threshold.
        inputs: one batch [N, C, H, W], normalized.

    Raises:
        ValueError: an activation that is none of these, ATIFnu with ``form='printed'``, or none at all.

    Source: :func:`atif_lib.quantization.families.best_uniform`. Of weights, Mishkin and Matas (2016) do the like.
    """
    found = _activations(network)
    others = sorted({type(m).__name__ for m in found if not _can_start(m)})
    if others or not found:
        raise ValueError(
            f"network with activations {', '.join(others) or 'none'}; "
            "allowed: IF, ATIFu, ATIFnu (telescoping), QuantizedReLU with a learned threshold"
        )
    _fit_in_order(network, inputs, [m.register_forward_pre_hook(_fit_to_input) for m in found])


@torch.no_grad()
def scale_from_data(network: Network, inputs: Tensor) -> None:
    """Scale the weights of each convolution so that its output has unit variance; biases start at 0.

    For networks without norms, whose currents have any scale else. Layer by layer, each with the spikes of those before
    it as they are then.

    Args:
        network: changed in place.
        inputs: one batch [N, C, H, W], normalized.

    Raises:
        ValueError: a layer sends no spike, so what the next one would put out has no variance; a weight is pruned or
            parametrized.

    Source: Mishkin and Matas (2016), without their orthogonal weights.
    """

    def scale(convolution: nn.Conv2d, inputs: tuple, output: Tensor) -> Tensor:
        if convolution.bias is not None:
            output = output - convolution.bias.view(-1, 1, 1)
            convolution.bias.zero_()
        spread = output.std()
        if not spread > 0:
            raise ValueError(
                f"inputs {[*inputs[0].shape]} leave a convolution of {convolution.in_channels} channels without input; "
                "allowed: a batch and thresholds with which every layer sends spikes"
            )
        factor = 1 / spread
        convolution.weight *= factor
        return output * factor

    found = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if any("weight" not in dict(m.named_parameters(recurse=False)) for m in found):
        raise ValueError("network with a weight that is computed (pruned, parametrized); allowed: weights of its own")
    _fit_in_order(network, inputs, [m.register_forward_hook(scale) for m in found])


@torch.no_grad()
def start_from_network(network: Network, weights: Mapping[str, Tensor], inputs: Tensor) -> None:
    r"""Take over the weights of a network of the same architecture: from ReLU to QuantizedReLU, from that to spikes.

    A quantized activation puts out rates, :math:`y = x / V_{th}` where it does not clip. A batch norm behind the next
    convolution undoes that factor; two things do not, and are rescaled so that the network's function stays as it is
    up to rounding and clipping: the norm beside an identity shortcut, whose path is in units of the last threshold,
    and the readout. Learned thresholds are fitted to ``inputs`` as in :func:`start_from_data`; fixed ones stay.

    A spiking network gets the thresholds of the quantized one, for :class:`~atif_lib.neurons.ATIFnu` as evenly spaced
    p. Its first layer then answers just as the quantized one does, for the current there is constant; deeper ones
    see uneven spikes. Means and variances of the norms are those of the other network: see :func:`estimate_norms`.

    Args:
        network: changed in place.
        weights: a ``state_dict`` of the other network, whose number of levels has to be this one's: logits are maps of
            counts, and the weights do not say of how many steps.
        inputs: one batch [N, C, H, W], normalized; used where thresholds are fitted.

    Raises:
        ValueError: the weights do not fit, but for thresholds that they lack; neurons with ``charge``; from ReLU to
            QuantizedReLU, residual blocks whose paths meet behind the activations, or convolutions without a norm; to
            spikes, ATIFnu with ``form='printed'``.
    """
    weights = dict(weights)
    for name, module in ((layer_name(name), module) for name, module in network.named_modules()):
        if isinstance(module, ATIFnu) and (log := weights.pop(f"{name}.log_threshold", None)) is not None:
            log = log if log.dim() else log.expand(module.log_steps.shape[1:])  # one for the layer: for each channel
            log = log - math.log(module.timesteps)
            weights[f"{name}.log_steps"] = log.expand(module.timesteps, *log.shape)
    own = network.state_dict()
    quantized = [m for m in _activations(network) if isinstance(m, QuantizedReLU)]
    fitted = {n for n in own.keys() - weights.keys() if quantized and n.endswith("threshold")}
    wrong = {
        "too many": weights.keys() - own.keys(),
        "missing": own.keys() - weights.keys() - fitted,
        "of another shape": {n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape},
    }
    if any(wrong.values()):
        said = ", ".join(f"{', '.join(sorted(names)) or 'none'} {what}" for what, names in wrong.items())
        raise ValueError(f"weights do not fit the network: {said}")
    if has_charges(network):
        raise ValueError("neurons with charge=True; allowed: charge=False, whose spikes are worth 1, as rates are")
    joins = {m.join for m in network.modules() if isinstance(m, Residual)} - {"current"}
    if fitted and joins:
        raise ValueError(f"network with join={joins.pop()!r}; allowed: 'current', or rates of two units would meet")
    if fitted and any(isinstance(m, Synapses) and len(m) == 1 for m in network.modules()):
        raise ValueError(
            "network without norms; allowed: a norm behind each convolution, which undoes the unit of rates"
        )
    if any(isinstance(m, ATIFnu) and m.form == "printed" for m in network.modules()):
        raise ValueError("ATIFnu with form='printed'; allowed: 'telescoping', whose evenly spaced p make equal steps")
    network.load_state_dict(weights, strict=False)
    if fitted:
        _start_quantized(network, quantized, inputs)


def _start_quantized(network: Network, quantized: list[QuantizedReLU], inputs: Tensor) -> None:
    worth = 1.0  # what a rate of 1 stands for in the ReLU network, at the last activation

    def rescale(block: nn.Module, inputs: tuple) -> None:
        block = unwrapped(block)
        if isinstance(block, Residual) and not len(block.shortcut):
            for parameter in block.second[1].parameters():
                parameter /= worth

    def note(block: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal worth
        block = unwrapped(block)
        if isinstance(block, Residual):
            assert isinstance(block.last, QuantizedReLU)
            worth = (1.0 if len(block.shortcut) else worth) * block.last.v_threshold.item()
        elif isinstance(block, QuantizedReLU):
            worth = block.v_threshold.item()

    hooks = [m.register_forward_pre_hook(_fit_to_input) for m in quantized if m.learns]
    for block in network.blocks:
        hooks += [block.register_forward_pre_hook(rescale), block.register_forward_hook(note)]
    _fit_in_order(network, inputs, hooks)
    network.readout.weight *= worth / network.steps


@torch.no_grad()
def estimate_norms(network: Network, batches: Iterable[Tensor]) -> None:
    """Set the running means and variances of all batch norms to their averages over some batches, weights untouched.

    Raises:
        ValueError: no batch; the norms then stay as they are.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("batches=[]; allowed: one batch or more")
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
    try:
        with at_rest(network, training=True):
            for inputs in chain([first], batches):
                functional.reset_net(network)
                network(inputs)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _activations(network: nn.Module) -> list[nn.Module]:
    spiking: list[nn.Module] = [*neurons_of(network).values()]
    return spiking or [m for m in network.modules() if isinstance(m, QuantizedReLU)]


def _can_start(activation: nn.Module) -> bool:
    if isinstance(activation, ATIFnu):
        return activation.form == "telescoping"
    return isinstance(activation, IF | ATIFu) or (isinstance(activation, QuantizedReLU) and activation.learns)


def _fit_in_order(network: Network, inputs: Tensor, hooks: list) -> None:
    """Run a batch through the network, whose hooks change it on the way; running averages stay as they were."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [{n: value.clone() for n, value in m.named_buffers()} for m in norms]
    try:
        with at_rest(network, training=True), unfused(network):
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, buffers in zip(norms, before, strict=True):
            norm.load_state_dict(buffers, strict=False)


def _fit_to_input(activation: nn.Module, inputs: tuple[Tensor]) -> None:
    """Set the thresholds of an activation for its input: currents [T, N, C, *]."""
    current = inputs[0].mean(0, dtype=torch.promote_types(inputs[0].dtype, torch.float32))
    if isinstance(activation, QuantizedReLU):
        if (current > 0).any():
            activation.log_threshold.fill_(math.log(_best(current, activation.levels, activation.v0)))
        return
    assert isinstance(activation, IF | ATIFu | ATIFnu)
    if isinstance(activation, IF):
        parameter, steps = activation.threshold, None
    elif isinstance(activation, ATIFu):
        parameter, steps = activation.log_threshold, 1
    else:
        parameter, steps = activation.log_steps, activation.timesteps
    per_channel = activation.thresholds.dim() == 2
    for channel, x in enumerate(current.transpose(0, 1) if per_channel else [current]):
        if (x > 0).any():
            best = parameter.new_tensor(_best(x, activation.timesteps, float(activation.v0)))
            value = (best / steps).log() if steps else best
            (parameter[..., channel] if per_channel else parameter).copy_(value)


def _best(current: Tensor, timesteps: int, v0: float) -> float:
    x = current.flatten().cpu()
    if len(x) > _SAMPLES:  # not every n-th, which would be the same column of every map
        drawn = x[torch.randint(len(x), (_SAMPLES,), generator=torch.Generator().manual_seed(0))]
        x = drawn if (drawn > 0).any() else x
    return float(best_uniform(empirical(x), timesteps, v0).levels[-1])
