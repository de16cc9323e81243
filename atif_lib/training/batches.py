"""Training batches, and the loss on them."""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, interpolate

from atif_lib import data
from atif_lib.training import augment
from atif_lib.training.recipe import Recipe

__all__ = ["Batches", "draws", "mixed_loss", "updates_per_epoch"]


class Batches:
    """Training batches, functions of seed and place alone: shuffled, augmented, mixed, normalized, scaled."""

    def __init__(self, examples: data.Examples, recipe: Recipe, seed: int) -> None:
        self.examples, self.recipe, self.seed = examples, recipe, seed
        self.normalize, self.change = data.normalizer(examples), augment.compose(recipe.augment)
        self._order = (-1, torch.empty(0, dtype=torch.int64))  # an epoch, and the order of its examples

    def draw(self, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return inputs [N, C, H, W], the two labels of each, and the weights of the first ones: see `mixed_loss`."""
        inputs, labels = self.examples.train_inputs, self.examples.train_labels
        part = self._order_of(epoch)[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
        part, generator = part.to(labels.device), draws(self.seed, epoch, step)
        changed = self.change(inputs[part], generator)
        mixed, one, other, weight = augment.mix(self.recipe.mix, changed, labels[part], generator)
        return self._scaled(self.normalize(mixed), epoch), one, other, weight

    def _scaled(self, inputs: Tensor, epoch: int) -> Tensor:
        """Return the inputs at the scale of an epoch, behind the last epoch at the last scale.

        Where there are more scales than epochs, the last ones count.
        """
        scales = self.recipe.scales
        part = ((epoch + 1) * len(scales) - 1) // self.recipe.epochs
        scale = scales[min(part, len(scales) - 1)]
        if scale == 1:
            return inputs
        where = inputs.cpu() if inputs.device.type == "mps" else inputs  # Apple's pools take whole factors only
        return interpolate(where, scale_factor=scale, mode="area").to(inputs.device)

    def _order_of(self, epoch: int) -> Tensor:
        """Return the order of the examples in an epoch; it is drawn once and kept until the next epoch."""
        if self._order[0] != epoch:
            count = len(self.examples.train_labels)
            self._order = (epoch, torch.randperm(count, generator=draws(self.seed, epoch)))
        return self._order[1]


def mixed_loss(logits: Tensor, one: Tensor, other: Tensor, weight: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with two labels for each example, the first weighing ``weight`` and the other the rest."""
    losses = [
        cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing) for labels in (one, other)
    ]
    return (weight * losses[0] + (1 - weight) * losses[1]).mean()


def draws(*seed: int) -> Generator:
    """Return a generator whose stream belongs to these numbers: the CPU's, the same for every device.

    NumPy reads zeros at the end as none: the order of an epoch and the augmentation of its first step share a stream.
    """
    return Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def updates_per_epoch(examples: int, batch_size: int, processes: int) -> int:
    """Return the number of whole batches in so many examples; a ValueError where there is none, or no equal shares."""
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size={batch_size}; allowed: 1 to the number of training examples, {examples}")
    if batch_size % processes:
        raise ValueError(f"batch_size={batch_size}; allowed: a multiple of the number of processes, {processes}")
    return examples // batch_size
