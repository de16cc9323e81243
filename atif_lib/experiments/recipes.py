"""The training protocols of the book: the paper's, ours for a GPU, ours in stages, and the small networks'."""

import dataclasses

from atif_lib.training.recipe import Recipe

__all__ = ["FAST", "FAST_SPEECH", "PAPER", "PAPER_SPEECH", "SMALL", "SMALL_SPEECH", "STAGED", "stage"]

# The paper's protocol (Section 4.1). It does not give batch size, momentum, weight decay, the learning rate of the
# thresholds or the precision: those are ours. Its "random resize" is read as torchvision's RandomResizedCrop.
PAPER = Recipe(
    epochs=900,
    batch_size=128,
    lr=0.08,
    threshold_lr=0.08,
    nesterov=False,
    schedule="step",
    warmup=0.0,
    augment=("resize", "flip"),
    mix="mixup",
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
# "The same training configuration" for sound, but for rate and epochs. A spectrogram is neither resized nor mirrored.
PAPER_SPEECH = dataclasses.replace(
    PAPER, epochs=80, lr=1e-3, threshold_lr=1e-3, step_epochs=20, step_factor=0.1, augment=()
)
FAST = Recipe(
    epochs=60,
    batch_size=256,
    lr=0.2,
    warmup=0.1,
    augment=("crop", "flip", "autoaugment", "cutout"),
    label_smoothing=0.1,
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
FAST_SPEECH = dataclasses.replace(FAST, epochs=30, augment=("shift", "mask"))
# Three stages for a processor: a ReLU network, its quantized twin, and that as spikes. Each starts from the one before.
# So few epochs end before a network knows its images by heart: it needs no augmentation that makes them much harder.
STAGED = Recipe(
    epochs=12,
    batch_size=128,
    label_smoothing=0.1,
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
SMALL = Recipe(epochs=3, compile=True)
SMALL_SPEECH = dataclasses.replace(SMALL, epochs=15, augment=("shift", "mask"), precision="bf16-mixed")

_EPOCHS = {"cifar": (STAGED.epochs, 3, 1), "gsc": (8, 3, 2), "cifar small": (3, 1, 1), "gsc small": (12, 6, 6)}
# Small images first. A ResNet averages its last maps, whatever their size; VGG-16's pools leave nothing of them.
_FIRST = {"resnet18": {"scales": (0.5, 0.75, 1.0)}}
# The last stage takes smaller batches: T maps an image fit the processor's cache better.
_CHANGES = (
    {},
    {"lr": 0.02, "threshold_lr": 0.002},
    {"lr": 0.01, "threshold_lr": 0.001, "batch_size": 64},
)


def stage(number: int, network: str, sound: bool, small: bool) -> Recipe:
    """Return the recipe of a stage.

    Args:
        number: 0 for the ReLU network, 1 for the quantized one, 2 for spikes.
        network: its name; some begin with smaller images.
        sound: for spectrograms; else for images.
        small: for the small networks, whose stages take about as long as their direct training; else for the paper's.
    """
    base = (SMALL_SPEECH if sound else SMALL) if small else STAGED
    augment = FAST_SPEECH.augment if sound else base.augment
    epochs = _EPOCHS[("gsc" if sound else "cifar") + " small" * small][number]
    changes = {"epochs": epochs, "augment": augment} | _CHANGES[number]
    if number == 0 and not sound:
        changes |= _FIRST.get(network, {})
    return dataclasses.replace(base, **changes)
