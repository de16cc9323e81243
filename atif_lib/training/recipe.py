"""The hyperparameters of a training, each checked."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, get_args

from atif_lib import checks
from atif_lib.training import augment

__all__ = ["Recipe"]

Schedule = Literal["cosine", "step"]
Mix = Literal["mixup", "cutmix"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training by stochastic gradient descent.

    Weights decay; thresholds, biases and norms do not. Thresholds have a learning rate of their own.

    Raises:
        ValueError: a value that makes no sense.
    """

    epochs: int = 3
    """Passes over the training examples."""
    batch_size: int = 64
    """Examples of an update, of all processes together."""
    lr: float = 0.1
    """Largest learning rate of weights, biases and norms."""
    threshold_lr: float = 0.01
    """Largest learning rate of thresholds and of other parameters of neurons."""
    momentum: float = 0.9
    """Share of the last step that the next one keeps."""
    nesterov: bool = True
    """Look ahead along the momentum; it needs a momentum above 0."""
    weight_decay: float = 5e-4
    """Factor of the weights in their gradient."""
    schedule: Schedule = "cosine"
    """``'cosine'``: from the largest rate to 0 in half a cosine. ``'step'``: times ``step_factor``, again and again."""
    warmup: float = 0.2
    """Share of all updates in which the rates rise from 0 to their largest."""
    step_epochs: int = 30
    """Epochs between two steps of the schedule ``'step'``."""
    step_factor: float = 0.9
    """Factor of each such step."""
    augment: tuple[str, ...] = ("crop", "flip")
    """Random changes of the inputs, in this order: names of :data:`atif_lib.training.augment.AUGMENTATIONS`."""
    scales: tuple[float, ...] = (1.0,)
    """Sides of the training inputs as a share of the data's, each for an equal share of the epochs, the last of them 1.

    Smaller inputs are averages over areas, and cost less. The network must take inputs of each size.
    """
    mix: Mix | None = None
    """How two examples become one, and their labels too."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    clip: float | None = None
    """Largest norm of the gradient; a longer one is shortened to it."""
    precision: Precision = "32-true"
    """Lightning Fabric's: float32, or bfloat16 where that is safe; experiments take float32 where it would be slow.

    In float32 NVIDIA's GPUs since Ampere round what convolutions multiply to TF32, as torch lets them by default.
    """
    channels_last: bool = False
    """Keep images with their channels innermost, which is faster in bfloat16."""
    compile: bool = False
    """Fuse each neuron with the norms before it: :func:`atif_lib.training.execution.compile_neurons`."""
    save_memory: bool = False
    """Keep less for the backward pass: :func:`atif_lib.training.execution.save_memory`, for residual networks."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        if self.nesterov and not self.momentum:
            raise ValueError(f"momentum={self.momentum} with nesterov={self.nesterov}; allowed: in (0, 1)")

    @property
    def area(self) -> float:
        """Mean area of a training input, as a share of the data's: about what an epoch costs beside one of scale 1."""
        return fmean(scale**2 for scale in self.scales)


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
        checks.choice(name, value, _CHOICES[name])
    elif name == "augment":
        if not isinstance(value, tuple | list):
            raise ValueError(f"augment={value!r}; allowed: a tuple of names")
        augment.compose(value)  # refuses what it does not know
        return tuple(value)
    elif name == "scales":
        scales = tuple(checks.number(name, scale) for scale in value) if isinstance(value, tuple | list) else ()
        if not scales or not all(0 < scale <= 1 for scale in scales) or scales[-1] != 1:
            raise ValueError(f"scales={value!r}; allowed: a tuple of numbers in (0, 1], the last of them 1")
        return scales
    else:
        checks.boolean(name, value)
    return value
