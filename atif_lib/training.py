"""The two training loops of the book: one neuron fitted to a density, and a network fitted to pictures."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from spikingjelly.activation_based import base, functional, monitor
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from atif_lib import data
from atif_lib.quantization import sqnr_db

__all__ = ["Recipe", "evaluate", "expected_sqnr_db", "fit_neuron", "train"]


def fit_neuron(
    neuron: nn.Module,
    density: Distribution,
    *,
    target: Literal["relu", "input"] = "relu",
    steps: int = 5000,
    batch_size: int = 1024,
    lr: float = 1e-3,
    seed: int = 0,
    log_every: int = 100,
) -> Iterator[dict[str, Any]]:
    r"""Learn the thresholds of one neuron from random input, and say how it goes.

    .. math:: L(i, \hat y) = E[(x - \hat y)^2]

    Args:
        neuron: one of :mod:`atif_lib.neurons` in step mode ``'m'``.
        density: distribution of the constant input current.
        target: what the decoded spikes are compared with: ``'relu'`` is x = ReLU(i), ``'input'`` is x = i, negative
            currents included, as Eq. 13 is printed.
        steps: Adam updates, one batch each.
        batch_size: currents drawn for an update.
        lr: Adam's learning rate; the paper's is 1e-3.
        seed: of the draws.
        log_every: updates between two reports.

    Yields:
        A dictionary of step, sqnr_db (exact to the grid of :func:`expected_sqnr_db`) and thresholds, from step 0.

    Raises:
        ValueError: ``target`` is neither of the two.

    Source: Section 3.3.
    """
    if target not in ("relu", "input"):
        raise ValueError(f"target must be 'relu' or 'input', got {target!r}")
    generator = torch.Generator().manual_seed(seed)
    parameters = list(neuron.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr) if parameters else None
    for step in tqdm(range(steps + 1), desc="fit", leave=False, disable=None):
        if step % log_every == 0 or step == steps:
            yield {
                "step": step,
                "sqnr_db": expected_sqnr_db(neuron, density),
                "thresholds": neuron.thresholds.flatten().tolist(),
            }
        if optimizer is None or step == steps:
            continue
        i = density.icdf(torch.rand(batch_size, generator=generator, dtype=torch.float64)).float()
        x = i.relu() if target == "relu" else i
        loss = (x - _respond(neuron, i)).square().mean()  # Eq. 13
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def expected_sqnr_db(neuron: nn.Module, density: Distribution, points: int = 20001) -> float:
    """SQNR of a neuron in dB (Eq. 8) for x = ReLU(i), over evenly spaced quantiles of the density of i."""
    i = density.icdf((torch.arange(points, dtype=torch.float64) + 0.5) / points).float()
    return sqnr_db(i.relu(), _respond(neuron, i)).item()


def _respond(neuron: nn.Module, i: Tensor) -> Tensor:
    """Return the decoded answer to the constant currents i."""
    functional.reset_net(neuron)
    return neuron.decode(neuron(i.expand(neuron.timesteps, *i.shape)))


class Recipe(NamedTuple):
    """How a network is trained: stochastic gradient descent, one warm-up, cosine to zero."""

    epochs: int = 3
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threshold_lr: float = 0.01
    warmup: float = 0.2
    compile: bool = False


def train(
    network: nn.Module, images: data.Examples, recipe: Recipe, *, seed: int = 0, augment: bool = True
) -> Iterator[dict[str, Any]]:
    """Train a network on pictures and report after each epoch.

    Weights decay; thresholds, biases and norms do not, and thresholds have a learning rate of their own.

    Args:
        network: maps pictures [N, C, H, W] to logits [N, classes].
        images: training and test pictures, on the network's device.
        recipe: the hyperparameters.
        seed: of the order of the pictures and of the augmentation.
        augment: random crop and flip.

    Yields:
        A dictionary of epoch, train_loss, and the metrics of :func:`evaluate`.

    Raises:
        FloatingPointError: the loss is not finite; the message names the step.

    Source: Section 4.1 for the optimizer; the schedule is ours.
    """
    generator = torch.Generator().manual_seed(seed)
    statistics = data.channel_stats(images.train_inputs)
    optimizer = torch.optim.SGD(parameter_groups(network, recipe), momentum=recipe.momentum, nesterov=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    updates = recipe.epochs * -(-len(images.train_labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=updates, pct_start=recipe.warmup, cycle_momentum=False
    )
    if recipe.compile:
        compile_neurons(network)
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        losses = []
        loader = data.batches(
            images.train_inputs,
            images.train_labels,
            recipe.batch_size,
            generator,
            data.random_crop_flip if augment else None,
        )
        total = updates // recipe.epochs
        for pictures, labels in tqdm(loader, desc=f"epoch {epoch}", total=total, leave=False, disable=None):
            functional.reset_net(network)
            loss = cross_entropy(network(data.to_float(pictures, *statistics)), labels)
            if not loss.isfinite():
                raise FloatingPointError(f"the loss is {loss.item()} at step {len(losses)} of epoch {epoch}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        yield {"epoch": epoch, "train_loss": torch.stack(losses).mean().item()} | evaluate(network, images)


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Split the parameters: weights decay, norms and biases do not, thresholds learn at their own rate."""
    thresholds = [p for m in network.modules() if isinstance(m, base.MemoryModule) for p in m.parameters()]
    others = [p for p in network.parameters() if all(p is not q for q in thresholds)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "lr": recipe.lr, "weight_decay": 0.0},
        {"params": thresholds, "lr": recipe.threshold_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@torch.no_grad()
def evaluate(network: nn.Module, images: data.Examples, batch_size: int = 500) -> dict[str, Any]:
    r"""Test accuracy and sparsity of a network.

    .. math:: \theta = \frac{1}{n\, m\, T} \sum_{t=1}^{T} \sum_{i,j} z_{i,j}(t)

    Args:
        network: the network; its spiking neurons are found by type.
        images: its test pictures are used, all of them.
        batch_size: pictures at a time.

    Returns:
        test_accuracy in percent and, where the network spikes, theta (Eq. 20 for each layer, averaged over layers as
        in the paper), theta_layers, and spikes_per_neuron = T·theta.
    """
    network.eval()
    statistics = data.channel_stats(images.train_inputs)
    correct = 0
    rates = monitor.OutputMonitor(network, base.MemoryModule, lambda z: z.float().mean() * z.shape[1])
    # Kernels compiled for the training's batches are not compiled again for the test's.
    with rates, torch.compiler.set_stance("force_eager"):
        for pictures, labels in data.batches(images.test_inputs, images.test_labels, batch_size):
            functional.reset_net(network)
            correct += (network(data.to_float(pictures, *statistics)).argmax(1) == labels).sum()
        layers = {name: torch.stack(rates[name]).sum() / len(images.test_labels) for name in rates.monitored_layers}
    metrics = {"test_accuracy": 100 * correct.item() / len(images.test_labels)}
    if layers:
        theta = torch.stack(list(layers.values())).mean().item()
        metrics |= {"theta": theta, "theta_layers": {k: v.item() for k, v in layers.items()}}
        metrics["spikes_per_neuron"] = theta * network.timesteps
    return metrics


def compile_neurons(network: nn.Module) -> None:
    """Fuse the timesteps of each neuron into one kernel; needs a C++ compiler on the CPU."""
    for module in network.modules():
        if isinstance(module, base.MemoryModule):
            module.compile()
