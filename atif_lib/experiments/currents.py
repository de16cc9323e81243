"""What travels in networks: whether spikes are binary, how currents are distributed, and what gradients become.

The records `network-spikes` and `network-gradients`.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from atif_lib.data import Examples
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, Network, neurons_of, unfused
from atif_lib.training.layer_errors import in_float64, watch

__all__ = ["current_gradients", "current_moments", "gradient_facts", "other_values", "spike_facts"]


def spike_facts(networks: Sequence[str] = ("vgg16", "resnet18")) -> dict[str, Any]:
    """Return what :func:`other_values` finds in the paper's networks, by network and activation.

    As they start, on random inputs: it follows from how they are built.

    Args:
        networks: names of ``NETWORKS``; by default the paper's.
    """
    found: dict[str, Any] = {}
    for network in networks:
        for activation in ("if", "atif-u", "atif-nu"):
            torch.manual_seed(0)
            made = NETWORKS[network](ACTIVATIONS[activation])
            found[f"{network}_{activation}_other_values"] = other_values(made, torch.randn(4, 3, 32, 32))
    return found


@torch.no_grad()
def other_values(network: Network, inputs: Tensor) -> float:
    """Return the share of values other than 0 and 1 among all that travel between layers of neurons.

    These are the inputs of each convolution but the stem's, which is the image, and the last spikes.

    Args:
        network: with spiking neurons. A copy of it runs, in the mode that it is in: nothing of the network changes but
            its membranes, which are put to rest. An untrained network should be in training mode; in evaluation mode
            its deep layers do not spike.
        inputs: [N, C, H, W].
    """
    functional.reset_net(network)
    network = copy.deepcopy(network)
    travelling: list[Tensor] = []
    for module in network.blocks.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: travelling.append(inputs[0]))
    network.blocks.register_forward_hook(lambda *hooked: travelling.append(hooked[2]))
    network(inputs)
    strange = sum(int(((x != 0) & (x != 1)).sum()) for x in travelling)
    return strange / sum(x.numel() for x in travelling)


def gradient_facts(seed: int, networks: Sequence[str] = ("vgg16", "resnet18")) -> dict[str, Any]:
    """Return the norms of the gradients of currents, as networks start.

    Inputs and labels are random, 32 of them. With V_th = 1 a network starts as ATIF-u and ATIF-nu do, too.

    Args:
        seed: of weights, inputs and labels.
        networks: names of ``NETWORKS``; by default the paper's.

    Returns:
        By network and activation, ReLU or IF: ``..._gradients``, for each layer from the first, at each timestep; and
        ``..._first_over_last``, the norm over all timesteps in the first layer, divided by that in the last one.
    """
    found: dict[str, Any] = {}
    for network in networks:
        for activation in ("relu", "if"):
            torch.manual_seed(seed)
            made = NETWORKS[network](ACTIVATIONS[activation])
            norms = [*current_gradients(made, torch.randn(32, 3, 32, 32), torch.randint(10, (32,))).values()]
            found[f"{network}_{activation}_gradients"] = norms
            found[f"{network}_{activation}_first_over_last"] = math.hypot(*norms[0]) / math.hypot(*norms[-1])
    return found


def current_gradients(network: Network, inputs: Tensor, labels: Tensor) -> dict[str, list[float]]:
    r"""Return the norm of the gradient of the loss in the current of each layer, at each timestep.

    .. math:: \Big\lVert \frac{\partial L}{\partial i(t)} \Big\rVert, \qquad t = 1 \ldots T

    L is the cross-entropy of the batch, in training mode. The gradient at t is all that the current changes: its own
    spike, and through the membrane the later ones.

    Args:
        network: with spiking neurons, or with ReLUs, which have one timestep. A copy of it runs: nothing of the network
            changes but its membranes, which are put to rest.
        inputs: [N, C, H, W].
        labels: [N], of the right classes.

    Returns:
        For each layer of neurons, from the first, by its name: T numbers.
    """
    functional.reset_net(network)
    network = copy.deepcopy(network).train()
    layers = neurons_of(network) or {name: m for name, m in network.named_modules() if isinstance(m, nn.ReLU)}
    norms: dict[str, list[float]] = {}

    def watcher(name: str) -> Callable:
        def keep(gradient: Tensor) -> None:
            norms[name] = [each.norm().item() for each in gradient]

        return lambda module, entering: entering[0].register_hook(keep) and None

    for name, layer in layers.items():
        layer.register_forward_pre_hook(watcher(name))
    with unfused(network):
        nn.functional.cross_entropy(network(inputs.detach().requires_grad_()), labels).backward()
    return {name: norms[name] for name in layers}


@torch.no_grad()
def current_moments(network: Network, examples: Examples, batch_size: int = 250) -> dict[str, dict[str, float]]:
    r"""Return the moments of the mean current of each layer of neurons, on the test examples.

    .. math:: \frac{\mu}{\sigma}, \qquad \frac{E[(\bar x - \mu)^3]}{\sigma^3}, \qquad
        \frac{E[(\bar x - \mu)^4]}{\sigma^4} - 3

    All three are 0 for a normal distribution around 0; the last is 3 for Laplace's.

    Args:
        network: with spiking neurons; left in evaluation mode.
        examples: the test examples are used, all of them.
        batch_size: examples at a time.

    Returns:
        ``sd``, ``mean_over_sd``, ``skewness`` and ``excess_kurtosis`` for each layer, by its name; the last three are
        NaN where the current does not vary.
    """
    sums: dict[str, list[float]] = {}

    def adder(name: str) -> Callable:
        def add(neuron: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            x = in_float64(inputs[0].float().mean(0)).ravel()
            powers = [float(len(x)), *((x**k).sum().item() for k in (1, 2, 3, 4))]
            sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * 5), powers, strict=True)]

        return add

    watch(network, examples, batch_size, {name: adder(name) for name in neurons_of(network)})
    return {name: _moments(*values) for name, values in sums.items()}


def _moments(n: float, *powers: float) -> dict[str, float]:
    m1, m2, m3, m4 = (power / n for power in powers)
    variance = m2 - m1**2
    if variance < 1e-12 * m2:  # the rounding of the sums
        variance = 0.0
    third, fourth = m3 - 3 * m1 * m2 + 2 * m1**3, m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    sd = variance**0.5
    unit = sd or math.nan
    return {
        "sd": sd,
        "mean_over_sd": m1 / unit,
        "skewness": third / unit**3,
        "excess_kurtosis": fourth / unit**4 - 3,
    }
