"""Train a network: one loop for every data set, network, device and number of processes."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning_fabric import Fabric
from spikingjelly.activation_based import base, functional
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from atif_lib import augment, checks, data
from atif_lib.checkpoints import Checkpoint, Progress, stop_requests
from atif_lib.evaluation import evaluate
from atif_lib.execution import any_process, compile_neurons, processes, save_memory, sync_norms
from atif_lib.initialisation import estimate_norms
from atif_lib.networks import Network
from atif_lib.quantized import QuantizedReLU

__all__ = ["Recipe", "schedule", "train"]

_NOTES = logging.getLogger("lightning_fabric.utilities.rank_zero")
_NOTES.addFilter(lambda note: "Mixed Precision" not in note.getMessage())  # a line each training; the recipe says it

NORM_BATCHES = 50  # from which the norms of a network with other weights are estimated

Schedule = Literal["cosine", "step"]
Mix = Literal["mixup", "cutmix"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters. Augmentations and mixes are those of :mod:`atif_lib.augment`.

    ``warmup`` is a share of all updates; ``precision`` is Lightning Fabric's; ``clip`` bounds the norm of the gradient;
    ``save_memory`` is :func:`atif_lib.execution.save_memory`, for residual networks.
    Weights decay; thresholds, biases and norms do not, and thresholds have a learning rate of their own. A value that
    makes no sense is a ValueError.
    """

    epochs: int = 3
    batch_size: int = 64
    lr: float = 0.1
    threshold_lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    warmup: float = 0.2
    step_epochs: int = 30
    step_factor: float = 0.9
    augment: tuple[str, ...] = ("crop", "flip")
    mix: Mix | None = None
    label_smoothing: float = 0.0
    clip: float | None = None
    precision: Precision = "32-true"
    channels_last: bool = False
    compile: bool = False
    save_memory: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        if self.nesterov and not self.momentum:
            raise ValueError(f"momentum={self.momentum} with nesterov={self.nesterov}; allowed: in (0, 1)")


_INTEGERS = ("epochs", "batch_size", "step_epochs")
_CHOICES = {"schedule": get_args(Schedule), "mix": (*get_args(Mix), None), "precision": get_args(Precision)}
_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(("lr", "threshold_lr", "weight_decay"), (lambda x: 0 <= x < math.inf, "0 or more, finite")),
    **dict.fromkeys(("momentum", "warmup", "label_smoothing"), (lambda x: 0 <= x < 1, "in [0, 1)")),
    "step_factor": (lambda x: 0 < x <= 1, "in (0, 1]"),
    "clip": (lambda x: 0 < x < math.inf, "above 0, finite, or None"),
}


def _checked(name: str, value: Any) -> Any:
    """Return a field of a recipe as a value of Python, which a checkpoint can hold; a ValueError says what is wrong."""
    if name in _INTEGERS:
        return checks.integer(name, value)
    if name in _NUMBERS:
        fits, allowed = _NUMBERS[name]
        value = None if name == "clip" and value is None else checks.number(name, value)
        if value is not None and not fits(value):
            raise ValueError(f"{name}={value}; allowed: {allowed}")
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name}={value!r}; allowed: {', '.join(map(repr, _CHOICES[name]))}")
    elif name == "augment":
        if not isinstance(value, tuple | list):
            raise ValueError(f"augment={value!r}; allowed: a tuple of names")
        augment.compose(value)  # refuses what it does not know
        return tuple(value)
    elif not isinstance(value, bool):
        raise ValueError(f"{name}={value!r}; allowed: True, False")
    return value


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
        network: maps inputs [N, C, H, W] to logits [N, classes]; trained in place.
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
        ValueError: fewer training examples than a batch, a batch that the processes cannot share equally, or no test
            examples.
        RuntimeError: processes that torchrun did not start, or that do not train the same.
        FloatingPointError: the loss is not finite; the message names step and layer.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the checkpoint is written.

    Source: Section 4.1 for the optimizer; what it leaves out is in :mod:`atif_lib.experiments`.
    """
    here, machines = processes()
    fabric = Fabric(devices=here, num_nodes=machines, precision=recipe.precision)
    fabric.launch()
    seed = checks.integer("seed", seed, 0)
    if not len(examples.test_labels):
        raise ValueError(f"{examples.name} has 0 test examples; allowed: 1 or more")
    steps = _steps_per_epoch(len(examples.train_labels), recipe.batch_size, fabric.world_size)
    batches = Batches(examples.to(fabric.device), recipe, seed)
    share = slice(fabric.global_rank, None, fabric.world_size)

    identity = asdict(recipe) | {"seed": seed, "data": examples.sha256, "network": repr(network)} | dict(origin or {})
    network = sync_norms(network) if fabric.world_size > 1 else network
    network.to(fabric.device, memory_format=torch.channels_last if recipe.channels_last else torch.preserve_format)
    optimizer = torch.optim.SGD(parameter_groups(network, recipe), momentum=recipe.momentum, nesterov=recipe.nesterov)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(recipe, steps))
    checkpoint = Checkpoint(folder, identity, network, optimizer, scheduler)
    progress = checkpoint.load() if resume else Progress()
    mine = identity | {"updates so far": scheduler.last_epoch}
    if any_process(fabric, mine != fabric.broadcast(mine)):
        raise RuntimeError(
            "torchrun must train the same on every machine: experiment, seed, data, and with --resume "
            "the checkpoint, which lies in ATIF_RUNS, a folder that all machines share"
        )
    yield from progress.history
    if recipe.compile:
        compile_neurons(network)

    def test() -> dict[str, Any]:
        with fabric.autocast():
            return evaluate(network, batches.examples, normalize=batches.normalize)

    if started and not progress.history and not scheduler.last_epoch:
        with fabric.autocast():
            estimate_norms(network, (batches.draw(0, step)[0] for step in range(min(steps, NORM_BATCHES))))
        progress.history.append({"epoch": 0, "seconds": progress.elapsed(), "train_loss": None} | test())
        yield progress.history[-1]
    if recipe.save_memory:
        save_memory(network)
    model, optimizer = fabric.setup(network, optimizer)

    first, total = scheduler.last_epoch, recipe.epochs * steps
    bar = tqdm(total=total * recipe.batch_size, initial=first * recipe.batch_size, unit="ex", leave=False, disable=None)
    bar.set_description("compiling" if recipe.compile else "starting")
    with bar, stop_requests() as stopped:
        for step in range(first, total):
            epoch, within = divmod(step, steps)
            network.train()
            inputs, *targets = (values[share] for values in batches.draw(epoch, within))
            functional.reset_net(network)
            with bad_layer_named(network, inputs, f"step {within} of epoch {epoch + 1}"):
                loss = mixed_loss(model(inputs), *targets, recipe.label_smoothing)
                if not loss.isfinite():
                    raise FloatingPointError(f"the loss is {loss.item()}")
            optimizer.zero_grad()
            fabric.backward(loss)
            if recipe.clip:
                fabric.clip_gradients(model, optimizer, max_norm=recipe.clip)
            optimizer.step()
            scheduler.step()
            bar.update(recipe.batch_size)
            bar.set_description(f"epoch {epoch + 1} of {recipe.epochs}", refresh=False)
            progress.losses.append(loss.detach())
            if complete := within + 1 == steps:
                progress.close_epoch(fabric, test())
                bar.set_postfix(accuracy=progress.history[-1]["test_accuracy"])
            stop = any_process(fabric, bool(stopped))
            if fabric.is_global_zero and (complete or stop or checkpoint.age() > save_seconds):
                checkpoint.save(progress)
            if stop:
                raise KeyboardInterrupt
            if complete:
                yield progress.history[-1]


class Batches:
    """Training batches, each a function of the seed and of its place alone: shuffled, augmented, mixed, normalized."""

    def __init__(self, examples: data.Examples, recipe: Recipe, seed: int) -> None:
        self.examples, self.recipe, self.seed = examples, recipe, seed
        self.normalize, self.change = data.normalizer(examples), augment.compose(recipe.augment)

    def draw(self, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return inputs [N, C, H, W], the two labels of each, and the weights of the first ones: see `mixed_loss`."""
        inputs, labels = self.examples.train_inputs, self.examples.train_labels
        part = self._order(epoch)[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
        part, generator = part.to(labels.device), draws(self.seed, epoch, step)
        changed = self.change(inputs[part], generator)
        mixed, *targets = augment.mix(self.recipe.mix, changed, labels[part], generator)
        return self.normalize(mixed), *targets

    @lru_cache(maxsize=1)  # noqa: B019
    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.examples.train_labels), generator=draws(self.seed, epoch))


def mixed_loss(logits: Tensor, one: Tensor, other: Tensor, weight: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with two labels for each example, the first weighing ``weight`` and the other the rest."""
    losses = [
        cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing) for labels in (one, other)
    ]
    return (weight * losses[0] + (1 - weight) * losses[1]).mean()


def draws(*seed: int) -> Generator:
    """Return a generator whose stream belongs to these numbers alone: the CPU's, the same for every device."""
    return Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def schedule(recipe: Recipe, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rates as a function of the update, for so many steps an epoch."""
    total = recipe.epochs * steps
    warm = recipe.warmup * total

    def factor(update: int) -> float:
        if update < warm:
            return (update + 1) / (warm + 1)
        if recipe.schedule == "step":
            return recipe.step_factor ** (update // (recipe.step_epochs * steps))
        return 0.5 * (1 + math.cos(math.pi * (update - warm) / (total - warm)))

    return factor


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Split the parameters: weights decay, norms and biases do not, thresholds learn at their own rate."""
    kinds = (base.MemoryModule, QuantizedReLU)
    thresholds = [p for m in network.modules() if isinstance(m, kinds) for p in m.parameters()]
    others = [p for p in network.parameters() if all(p is not q for q in thresholds)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "lr": recipe.lr, "weight_decay": 0.0},
        {"params": thresholds, "lr": recipe.threshold_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@contextmanager
def bad_layer_named(network: nn.Module, inputs: Tensor, place: str) -> Iterator[None]:
    """Say of a loss that is not finite, or of a neuron that refuses its input, where and from which layer it came."""
    try:
        yield
    except (FloatingPointError, ValueError) as error:
        if bad := int((~inputs.isfinite()).sum()):
            raise FloatingPointError(f"{error} at {place}, from inputs with {bad} NaN or infinite values") from error
        layer = first_bad_layer(network, inputs)
        if layer is None and isinstance(error, ValueError):
            raise
        source = f"layer {layer}" if layer else "the loss itself: every layer is finite"
        raise FloatingPointError(f"{error} at {place}, from {source}") from error


@torch.no_grad()
def first_bad_layer(network: nn.Module, inputs: Tensor) -> str | None:
    """Name the first layer whose output is not finite for these inputs."""
    bad: list[str] = []

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            bad.append(name)

    leaves = [(name, m) for name, m in network.named_modules() if not list(m.children())]
    hooks = [m.register_forward_hook(lambda m, i, output, name=name: look(name, output)) for name, m in leaves]
    functional.reset_net(network)
    try:
        with torch.compiler.set_stance("force_eager"):
            network(inputs)
    except ValueError:  # a neuron that refuses NaN comes behind the layer that made it
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return bad[0] if bad else None


def _steps_per_epoch(examples: int, batch_size: int, processes: int) -> int:
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size={batch_size}; allowed: 1 to the number of training examples, {examples}")
    if batch_size % processes:
        raise ValueError(f"batch_size={batch_size}; allowed: a multiple of the number of processes, {processes}")
    return examples // batch_size
