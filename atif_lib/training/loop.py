"""Train a network: one loop for every data set, network, device and number of processes.

It has three parts: :func:`prepare` makes what the updates need, :func:`update` is one update, and :func:`train` is the
loop around it with tests, checkpoints and an end.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from atif_lib import checks, data
from atif_lib.networks.architectures import Network, layer_name, neurons_of
from atif_lib.networks.initialisation import estimate_norms
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.training.batches import Batches, draws, mixed_loss, updates_per_epoch
from atif_lib.training.checkpoints import Checkpoint, Progress, stop_requests
from atif_lib.training.diagnosis import bad_layer_named
from atif_lib.training.evaluation import evaluate
from atif_lib.training.execution import (
    accelerator,
    any_process,
    compile_neurons,
    processes,
    save_memory,
    saves_memory,
    sync_norms,
)
from atif_lib.training.recipe import Recipe

__all__ = ["Training", "parameter_groups", "prepare", "schedule", "train", "update"]

_NOTES = logging.getLogger("lightning_fabric.utilities.rank_zero")
_NOTES.addFilter(lambda note: "Mixed Precision" not in note.getMessage())  # a line each training; the recipe says it

NORM_BATCHES = 50  # from which the norms of a network with other weights are estimated


def train(
    network: Network,
    examples: data.Examples,
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    started: bool = False,
    origin: Mapping[str, Any] | None = None,
    save_seconds: float = 60.0,
) -> Iterator[dict[str, Any]]:
    """Train a network and report after each epoch.

    What a step draws depends on the seed and the number of the step alone. So a run that is resumed from a checkpoint
    ends where an uninterrupted one does, on the CPU to the last bit if it has the same number of threads: another
    number sums in another order. Several processes (started by torchrun) draw the same batches and share each between
    them.

    Args:
        network: maps inputs [N, C, H, W] to logits [N, classes]; trained in place, whole: norms that were frozen, too.
        examples: training and test examples, put on the device whole.
        recipe: the hyperparameters.
        seed: of the order of the examples and of the augmentation.
        folder: where checkpoint and metrics.csv are kept; None keeps nothing.
        resume: go on from the checkpoint in ``folder``, if there is one, and report its epochs again first.
        started: the weights come from another network: estimate the norms anew and test before the first update, as
            epoch 0.
        origin: what else a checkpoint must have in common with a run that goes on from it.
        save_seconds: time between two checkpoints; one is also written at the end of an epoch and on Ctrl-C.

    Yields:
        A dictionary of epoch, seconds (training time so far), train_loss, and the metrics of `evaluate`.

    Raises:
        ValueError: fewer training examples than a batch, a batch that the processes cannot share equally, no test
            examples, a seed that is no integer of 0 or more, or a checkpoint of another run.
        RuntimeError: processes that torchrun did not start, or that do not train the same.
        FloatingPointError: the loss or its gradient is not finite; the message names step and layer.
        OSError: the checkpoint cannot be written or read; MemoryError: it does not fit into memory.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once the checkpoint is written; without ``folder`` after
            Ctrl-C, at once.

    Source: Section 4.1 for the optimizer; what it leaves out is in :mod:`atif_lib.experiments.recipes`.
    """
    training = prepare(network, examples, recipe, seed, folder, resume=resume, started=started, origin=origin)
    yield from training.progress.history
    first, total, size = training.scheduler.last_epoch, recipe.epochs * training.updates, recipe.batch_size
    bar = tqdm(total=total * size, initial=first * size, unit="ex", leave=False, disable=None)
    bar.set_description("compiling" if recipe.compile else "starting")
    with bar:
        for epoch in range(first // training.updates, recipe.epochs):
            stops = stop_requests() if folder else nullcontext(threading.Event())  # with nothing to save, at once
            with stops as stopped:  # not around the yield: between two epochs Ctrl-C is the caller's
                _finish_epoch(training, epoch, bar, stopped, save_seconds)
            yield training.progress.history[-1]


def _finish_epoch(training: "Training", epoch: int, bar: tqdm, stopped: threading.Event, save_seconds: float) -> None:
    """Take the updates of an epoch that are left, test, and write checkpoints on the way."""
    for step in range(training.scheduler.last_epoch - epoch * training.updates, training.updates):
        update(training, epoch, step)
        bar.update(training.recipe.batch_size)
        bar.set_description(f"epoch {epoch + 1} of {training.recipe.epochs}", refresh=False)
        if complete := step + 1 == training.updates:
            training.progress.close_epoch(training.test())
            bar.set_postfix(accuracy=training.progress.history[-1]["test_accuracy"])
        saves = training.fabric.is_global_zero
        due = complete or training.checkpoint.age() > save_seconds
        if saves and due:
            training.checkpoint.save(training.progress)
        if any_process(training.fabric, stopped.is_set()):  # asked for last: writing takes a while
            if saves and not due:
                training.checkpoint.save(training.progress)
            raise KeyboardInterrupt


@dataclass
class Training:
    """What the updates of a training need; made by :func:`prepare`.

    ``network`` is the one that was given; ``model`` is the same, as Lightning Fabric runs it. ``updates`` is the number
    of updates in an epoch.
    """

    fabric: Fabric
    network: Network
    model: nn.Module
    recipe: Recipe
    batches: Batches
    optimizer: Optimizer
    scheduler: LambdaLR
    checkpoint: Checkpoint
    progress: Progress
    updates: int

    def test(self) -> dict[str, Any]:
        """Test the network as it is; see :func:`atif_lib.training.evaluation.evaluate`."""
        with self.fabric.autocast():
            return evaluate(self.network, self.batches.examples, normalize=self.batches.normalize)


def prepare(
    network: Network,
    examples: data.Examples,
    recipe: Recipe,
    seed: int = 0,
    folder: Path | None = None,
    *,
    resume: bool = False,
    started: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> Training:
    """Put network and examples on the device, and make or restore all that updates need.

    A network with the weights of another one is tested here, as epoch 0, once its norms are estimated anew. Arguments
    and errors are those of :func:`train`.
    """
    here, machines = processes()
    fabric = Fabric(accelerator=accelerator(), devices=here, num_nodes=machines, precision=recipe.precision)
    fabric.launch()
    seed = checks.integer("seed", seed, 0)
    if not len(examples.test_labels):
        raise ValueError(f"{examples.name} has 0 test examples; allowed: 1 or more")
    updates = updates_per_epoch(len(examples.train_labels), recipe.batch_size, fabric.world_size)
    batches = Batches(examples.to(fabric.device), recipe, seed)

    identity = asdict(recipe) | {"seed": seed, "data": examples.sha256, "network": _layers(network)}
    identity["examples"] = [len(examples.train_labels), len(examples.test_labels)]
    identity |= dict(origin or {})
    if fabric.world_size > 1:
        sync_norms(network)
    layout = torch.channels_last if recipe.channels_last else torch.preserve_format
    # torch's types of Module.to leave the layout out.
    network.to(fabric.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(parameter_groups(network, recipe), momentum=recipe.momentum, nesterov=recipe.nesterov)
    scheduler = LambdaLR(optimizer, schedule(recipe, updates))
    checkpoint = Checkpoint(folder, identity, network, optimizer, scheduler)
    progress = checkpoint.load() if resume else Progress()
    mine = identity | {"updates so far": scheduler.last_epoch}
    if any_process(fabric, mine != fabric.broadcast(mine)):
        raise RuntimeError(
            "torchrun must train the same on every machine: experiment, seed, data, and with --resume "
            "the checkpoint, which lies in ATIF_RUNS, a folder that all machines share"
        )
    if recipe.compile:
        compile_neurons(network)
    training = Training(fabric, network, network, recipe, batches, optimizer, scheduler, checkpoint, progress, updates)
    if started and not progress.history and not scheduler.last_epoch:
        with fabric.autocast():
            estimate_norms(network, (batches.draw(0, step)[0] for step in range(min(updates, NORM_BATCHES))))
        progress.history.append({"epoch": 0, "seconds": progress.elapsed(), "train_loss": None} | training.test())
    if recipe.save_memory and not saves_memory(network):
        save_memory(network)
    training.model, training.optimizer = fabric.setup(network, optimizer)
    return training


def update(training: Training, epoch: int, step: int) -> None:
    """Take one update, on batch ``step`` of an epoch; both count from 0. Each process takes its share of the batch.

    Raises:
        FloatingPointError: the loss or its gradient is not finite; the message names step and layer. No weight changes.
    """
    fabric, recipe, network = training.fabric, training.recipe, training.network
    share = slice(fabric.global_rank, None, fabric.world_size)
    network.train()
    inputs, one, other, weight = (values[share] for values in training.batches.draw(epoch, step))
    functional.reset_net(network)
    named = bad_layer_named(network, inputs, f"step {step} of epoch {epoch + 1}")
    with _own_draws(training, epoch, step), named:
        loss = mixed_loss(training.model(inputs), one, other, weight, recipe.label_smoothing)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()}")
        training.optimizer.zero_grad()
        fabric.backward(loss)
        # A neuron whose membrane is NaN sends no spike, so the loss can be finite where a layer is not.
        norm = fabric.clip_gradients(
            training.model, training.optimizer, max_norm=recipe.clip or math.inf, error_if_nonfinite=False
        )
        assert isinstance(norm, Tensor)
        if not norm.isfinite():
            raise FloatingPointError(f"the norm of the gradient is {norm.item()}")
    training.optimizer.step()
    training.scheduler.step()
    mean = fabric.all_reduce(loss.detach())
    assert isinstance(mean, Tensor)
    training.progress.losses.append(mean)


@contextmanager
def _own_draws(training: Training, epoch: int, step: int) -> Iterator[None]:
    """Let layers that draw, as dropout does, draw what belongs to this update and process, and leave torch's draws."""
    fabric = training.fabric
    kind = fabric.device.type
    with torch.random.fork_rng([] if kind == "cpu" else [fabric.device.index or 0], device_type=kind):
        torch.manual_seed(draws(training.batches.seed, epoch, step, 1 + fabric.global_rank).initial_seed())
        yield


def _layers(network: nn.Module) -> str:
    """Describe a network by its layers, one a line, as it was before :func:`save_memory` wrapped some of them."""
    # A wrapped layer comes after its wrapper, and takes its place.
    inside = {layer_name(name): module for name, module in network.named_modules()}
    return "\n".join(f"{name}: {type(m).__name__}({m.extra_repr()})" for name, m in inside.items())


def schedule(recipe: Recipe, updates: int) -> Callable[[int], float]:
    """Return the factor on the learning rates as a function of the update, for so many updates an epoch."""
    total = recipe.epochs * updates
    warm = recipe.warmup * total

    def factor(update: int) -> float:
        if update < warm:
            return (update + 1) / (warm + 1)
        if recipe.schedule == "step":
            return recipe.step_factor ** (update // (recipe.step_epochs * updates))
        return 0.5 * (1 + math.cos(math.pi * (update - warm) / (total - warm)))

    return factor


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Split the parameters: weights decay, norms and biases do not, thresholds learn at their own rate."""
    activations = [*neurons_of(network).values(), *(m for m in network.modules() if isinstance(m, QuantizedReLU))]
    thresholds = [p for m in activations for p in m.parameters()]
    others = [p for p in network.parameters() if all(p is not q for q in thresholds)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "lr": recipe.lr, "weight_decay": 0.0},
        {"params": thresholds, "lr": recipe.threshold_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
