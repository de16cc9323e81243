"""What a trained network does: accuracy, also after fewer timesteps, sparsity, and which classes it confuses."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from spikingjelly.activation_based import functional, monitor
from torch import Tensor, nn

from atif_lib import checks, data
from atif_lib.networks.architectures import Network, layer_name, neurons_of

Normalizer = Callable[[Tensor], Tensor]

__all__ = ["accuracy_over_time", "confusion", "evaluate", "predictions"]


@torch.no_grad()
def evaluate(
    network: Network, examples: data.Examples, batch_size: int = 500, normalize: Normalizer | None = None
) -> dict[str, Any]:
    r"""Test accuracy and sparsity of a network.

    .. math:: \theta_l = \frac{1}{n\, m\, T} \sum_{t=1}^{T} \sum_{i=1}^{n} \sum_{j=1}^{m} z_{i,j}(t), \qquad
        \theta = \frac{1}{L} \sum_{l=1}^{L} \theta_l

    for the n m neurons of layer l, averaged over the test examples.

    Args:
        network: the network; its spiking neurons are found by type.
        examples: its test examples are used, all of them.
        batch_size: examples at a time.
        normalize: that of the training inputs, where it is at hand; else it is worked out.

    Returns:
        test_accuracy in percent and, where the network spikes, theta (Eq. 20, averaged over layers as in the paper),
        theta_layers, theta_neurons (averaged over neurons, so that a large layer counts more), and
        spikes_per_neuron = T·theta. The network is left in evaluation mode.

    Raises:
        ValueError: ``batch_size`` is no integer of 1 or more, or there are no test examples.
    """
    spikes = monitor.OutputMonitor(network, tuple({type(m) for m in neurons_of(network).values()}), _activity)
    correct = torch.zeros((), dtype=torch.int64)
    with spikes:
        for logits, labels in predictions(network, examples, batch_size, normalize=normalize):
            correct += (logits.argmax(1) == labels).sum().cpu()
        layers = {layer_name(name): _sums(spikes[name]) for name in spikes.monitored_layers}
    metrics = {"test_accuracy": 100 * correct.item() / len(examples.test_labels)}
    if layers:
        theta = {name: fired / places for name, (fired, places) in layers.items()}
        fired, places = (sum(counts) for counts in zip(*layers.values(), strict=True))
        metrics |= {"theta": sum(theta.values()) / len(theta), "theta_neurons": fired / places}
        metrics |= {"spikes_per_neuron": metrics["theta"] * network.timesteps, "theta_layers": theta}
    return metrics


def _activity(spikes: Tensor) -> tuple[Tensor, int]:
    """Count the spikes of a layer, and the neurons times timesteps that could have fired: integers on any device."""
    return spikes.count_nonzero(), spikes.numel()


def _sums(counts: list[tuple[Tensor, int]]) -> tuple[int, int]:
    fired, places = zip(*counts, strict=True)
    return int(torch.stack(fired).sum()), sum(places)


@torch.no_grad()
def accuracy_over_time(network: Network, examples: data.Examples, batch_size: int = 500) -> list[float]:
    """Test accuracy in percent if the readout is taken after 1, 2, ... T timesteps of the same run.

    Mode and errors are those of :func:`evaluate`.
    """
    correct = torch.zeros(network.timesteps, dtype=torch.int64)
    for logits, labels in predictions(network, examples, batch_size, network.over_time):
        correct += (logits.argmax(2) == labels).sum(1).cpu()
    return [100 * count / len(examples.test_labels) for count in correct.tolist()]


@torch.no_grad()
def confusion(network: Network, examples: data.Examples, batch_size: int = 500) -> Tensor:
    """Test examples of each class (rows) by the class that the network names (columns), int64 [classes, classes].

    Mode and errors are those of :func:`evaluate`; and ValueError for a network with another number of outputs.
    """
    classes = len(examples.classes)
    table = torch.zeros(classes * classes, dtype=torch.int64)
    for logits, labels in predictions(network, examples, batch_size):
        if logits.shape[1] != classes:
            raise ValueError(
                f"network with {logits.shape[1]} outputs; allowed: {classes}, one for each class of {examples.name}"
            )
        table += (labels * classes + logits.argmax(1)).bincount(minlength=classes * classes).cpu()
    return table.view(classes, classes)


def predictions(
    network: nn.Module,
    examples: data.Examples,
    batch_size: int,
    forward: Callable[[Tensor], Tensor] | None = None,
    normalize: Normalizer | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over logits and labels of the test examples, on the network's device, wherever the examples are.

    Mode and errors are those of :func:`evaluate`.
    """
    batch_size = checks.integer("batch_size", batch_size)
    if not len(examples.test_labels):
        raise ValueError(f"{examples.name} has 0 test examples; allowed: 1 or more")
    network.eval()
    normalize = normalize or data.normalizer(examples)
    device = next(network.parameters()).device
    for inputs, labels in zip(
        examples.test_inputs.split(batch_size), examples.test_labels.split(batch_size), strict=True
    ):
        functional.reset_net(network)
        yield (forward or network)(normalize(inputs.to(device))), labels.to(device)
    functional.reset_net(network)
