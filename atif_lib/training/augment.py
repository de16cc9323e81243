"""Augmentations of a whole batch on its device: each example has draws of its own, all from one generator.

An example's result depends on itself and its draws alone (and on its partner, where two are mixed). Images are uint8
or float [N, C, H, W]; features are float [N, 1, frames, coefficients]. Each function raises a ValueError for inputs of
another shape, and for an argument that is not in its range, which the message says.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, pad

from atif_lib import checks
from atif_lib.training.auto_augment import SUB_POLICIES, apply, magnitude

__all__ = [
    "AUGMENTATIONS",
    "auto_augment",
    "compose",
    "cutout",
    "mix",
    "random_crop",
    "random_flip",
    "random_mask",
    "random_resized_crop",
    "random_shift",
]


def random_crop(images: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """Crop each image at an offset of its own after zero padding, as torchvision's RandomCrop does."""
    height, width = _batch(images).shape[2:]
    if padding < 0:
        raise ValueError(f"padding={padding}; allowed: 0 or more")
    top, left = (_integers(2 * padding + 1, images, generator) for _ in range(2))
    windows = pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: nothing is copied yet
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirror = _integers(2, _batch(images), generator).bool()
    return torch.where(mirror[:, None, None, None], images.flip(3), images)


def random_resized_crop(
    images: Tensor,
    generator: Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Crop a part of each image and resize it to the image's size, bilinearly, as RandomResizedCrop does.

    Args:
        images: [N, C, H, W].
        generator: of the draws.
        scale: range of the crop's area as a share of the image's.
        ratio: range of the crop's width / height.

    Raises:
        ValueError: a range that is empty or not positive, or a crop larger than its image.

    Source: Szegedy et al. (2015), "Going deeper with convolutions"; the ranges are torchvision's.
    """
    for name, (low, high), most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
        if not 0 < low <= high <= most or math.isinf(high):
            raise ValueError(f"{name}={(low, high)}; allowed: 0 < low <= high" + ("" if math.isinf(most) else " <= 1"))
    return _resize(images, *_crops(images, generator, scale, ratio))


def _crops(images: Tensor, generator: Generator, scale: Sequence[float], ratio: Sequence[float]) -> tuple[Tensor, ...]:
    """Draw top, left, height, width [N] of crops: the first of ten tries that fits, else the whole image."""
    height, width = _batch(images).shape[2:]
    area = height * width * _uniform(10, images, generator).mul(scale[1] - scale[0]).add(scale[0])
    low, high = map(math.log, ratio)
    aspect = _uniform(10, images, generator).mul(high - low).add(low).exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.byte().argmax(1, keepdim=True)  # 0 where none fits
    w, h = (torch.where(fits, side, full).gather(1, first)[:, 0] for side, full in ((w, width), (h, height)))
    top, left = _uniform(2, images, generator).unbind(1)
    return (top * (height - h + 1)).floor(), (left * (width - w + 1)).floor(), h, w


def _resize(images: Tensor, top: Tensor, left: Tensor, h: Tensor, w: Tensor) -> Tensor:
    """Resize a crop of each image to the whole image's size; pixels outside the crop have no influence."""

    def positions(size: int, first: Tensor, length: Tensor) -> Tensor:
        at = (torch.arange(size, device=images.device) + 0.5) * (length / size)[:, None] - 0.5
        at = first[:, None] + at.clamp(min=0).minimum(length[:, None] - 1)
        return 2 * at / max(size - 1, 1) - 1

    y, x = positions(images.shape[2], top, h), positions(images.shape[3], left, w)
    grid = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], 3)
    resized = grid_sample(images.float(), grid, mode="bilinear", align_corners=True)
    return (resized if images.is_floating_point() else resized.round_()).to(images.dtype)


def cutout(images: Tensor, generator: Generator, size: int = 16) -> Tensor:
    """Replace a square of size x size around a random pixel, less what lies outside, by the image's own mean.

    Source: DeVries and Taylor (2017), "Improved regularization of convolutional neural networks with Cutout".
    """
    if size < 1:
        raise ValueError(f"size={size}; allowed: 1 or more")
    first = [_integers(side, _batch(images), generator) - size // 2 for side in images.shape[2:]]
    hole = _span(images, 2, first[0], size) & _span(images, 3, first[1], size)
    return torch.where(hole, _mean(images, (2, 3)), images)


def random_shift(features: Tensor, generator: Generator, frames: int = 5) -> Tensor:
    """Move each example by -frames..frames frames in time; its first or last frame fills the gap."""
    if not 0 <= frames < _batch(features).shape[2]:
        raise ValueError(f"frames={frames}; allowed: 0 to {features.shape[2] - 1}")
    by = _integers(2 * frames + 1, features, generator) - frames
    at = torch.arange(features.shape[2], device=features.device) - by[:, None]
    at = at.clamp(0, features.shape[2] - 1)[:, None, :, None]
    return features.gather(2, at.expand_as(features))


def random_mask(features: Tensor, generator: Generator, frames: int = 10, coefficients: int = 2) -> Tensor:
    """Replace up to so many frames, and up to so many coefficients, by each coefficient's mean over the example.

    Source: Park et al. (2019), "SpecAugment", whose zero is the mean of what it masks.
    """
    masked = features
    for name, dim, longest in (("frames", 2, frames), ("coefficients", 3, coefficients)):
        size = _batch(features).shape[dim]
        if not 0 <= longest <= size:
            raise ValueError(f"{name}={longest}; allowed: 0 to {size}")
        length = _integers(longest + 1, features, generator)
        first = (_uniform(1, features, generator)[:, 0] * (size - length + 1)).long()
        masked = torch.where(_span(features, dim, first, length), _mean(features, (2,)), masked)
    return masked


def auto_augment(images: Tensor, generator: Generator) -> Tensor:
    """Apply to each uint8 image [3, H, W] one of the 25 sub-policies found on CIFAR-10, with torchvision's operations.

    Images that draw the same operation with the same magnitude go through it together: about 50 calls for 512 images.

    Source: Cubuk et al. (2019), "AutoAugment: learning augmentation strategies from data".
    """
    if _batch(images).dtype != torch.uint8 or images.shape[1] != 3:
        raise ValueError(f"images are {images.dtype} {[*images.shape]}; allowed: torch.uint8 [N, 3, H, W]")
    images = images.clone()
    for groups in _operations(images, generator):
        for (operation, strength), members in groups.items():
            at = torch.tensor(members, device=images.device)
            images[at] = apply(images[at], operation, strength)
    return images


def _operations(images: Tensor, generator: Generator) -> Iterator[dict[tuple[str, float], list[int]]]:
    """Draw a sub-policy for each image; yield, for its first and second step, which images meet which operation."""
    drawn = _integers(len(SUB_POLICIES), images, generator).tolist()
    chance, sign = (_uniform(2, images, generator).tolist() for _ in range(2))
    for step in range(2):
        groups = defaultdict(list)
        for n, which in enumerate(drawn):
            operation, probability, level = SUB_POLICIES[which][step]
            if chance[n][step] < probability:
                groups[operation, magnitude(operation, level, sign[n][step] >= 0.5, *images.shape[2:])].append(n)
        yield groups


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "crop": random_crop,
    "flip": random_flip,
    "resize": random_resized_crop,
    "autoaugment": auto_augment,
    "cutout": cutout,
    "shift": random_shift,
    "mask": random_mask,
}
"""Augmentations by the names that a recipe calls them."""


def compose(names: Sequence[str]) -> Callable[[Tensor, Generator], Tensor]:
    """Return the augmentations of these names, one after the other; no names leave inputs as they are."""
    for name in names:
        checks.choice("augment", name, AUGMENTATIONS)
    steps = [AUGMENTATIONS[name] for name in names]

    def augment(inputs: Tensor, generator: Generator) -> Tensor:
        for step in steps:
            inputs = step(inputs, generator)
        return inputs

    return augment


def mix(
    kind: Literal["mixup", "cutmix"] | None, inputs: Tensor, labels: Tensor, generator: Generator, alpha: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Mix each example with the one before it in the batch, which must be shuffled.

    .. math:: \tilde x = \lambda x_a + (1 - \lambda) x_b, \quad
              L = \lambda L(\tilde x, y_a) + (1 - \lambda) L(\tilde x, y_b), \quad \lambda \sim Beta(\alpha, \alpha)

    Args:
        kind: ``'mixup'`` mixes values; ``'cutmix'`` puts a box of b, a share 1 - λ of the area, around a random
            pixel of a, and λ becomes the share of a that is left; None mixes nothing.
        inputs: [N, C, H, W].
        labels: int64 [N].
        generator: of the draws, a λ for each example.
        alpha: of the Beta distribution; 1 is uniform.

    Returns:
        Mixed inputs (float32 after mixup, in the scale of the inputs), labels a, labels b, and λ float32 [N].

    Source: Zhang et al. (2018), "mixup"; Yun et al. (2019), "CutMix".
    """
    if kind not in ("mixup", "cutmix", None):
        raise ValueError(f"kind={kind!r}; allowed: 'mixup', 'cutmix', None")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha={alpha}; allowed: a positive, finite number")
    if len(labels) != len(_batch(inputs)):
        raise ValueError(f"{len(labels)} labels; allowed: {len(inputs)}, one an input")
    if kind is None:
        return inputs, labels, labels, torch.ones(len(inputs), device=inputs.device)
    seed = int(
        torch.randint(2**62, (), generator=generator, device=generator.device)
    )  # torch's Beta takes no generator
    weight = np.random.default_rng(seed).beta(alpha, alpha, len(inputs)).astype(np.float32)
    weight = torch.from_numpy(weight).to(inputs.device)
    other = inputs.roll(1, 0)
    if kind == "mixup":
        inputs = torch.lerp(other.float(), inputs.float(), weight[:, None, None, None])
    else:
        box = _box(inputs, weight, generator)
        inputs, weight = torch.where(box, other, inputs), 1 - box.float().mean((1, 2, 3))
    return inputs, labels, labels.roll(1, 0), weight


def _box(inputs: Tensor, weight: Tensor, generator: Generator) -> Tensor:
    """Draw a box of a share 1 - weight of the area around a random pixel of each input: bool [N, 1, H, W]."""
    sides = []
    for dim in (2, 3):
        half = (0.5 * (1 - weight).sqrt() * inputs.shape[dim]).long()
        sides.append(_span(inputs, dim, _integers(inputs.shape[dim], inputs, generator) - half, 2 * half))
    return sides[0] & sides[1]


def _span(inputs: Tensor, dim: int, first: Tensor, length: Tensor | int) -> Tensor:
    """Say which of the indices of a dimension lie in first..first + length, [N] each: bool, for broadcasting."""
    at = torch.arange(inputs.shape[dim], device=inputs.device) - first[:, None]
    inside = (at >= 0) & (at < (length if isinstance(length, int) else length[:, None]))
    return inside.reshape([len(inputs), *(inputs.shape[d] if d == dim else 1 for d in range(1, 4))])


def _mean(inputs: Tensor, dims: tuple[int, ...]) -> Tensor:
    mean = inputs.float().mean(dims, keepdim=True)
    return (mean if inputs.is_floating_point() else mean.round()).to(inputs.dtype)


def _integers(high: int, inputs: Tensor, generator: Generator) -> Tensor:
    """Draw one of 0..high - 1 for each input: int64 [N]."""
    return torch.randint(high, (len(inputs),), generator=generator, device=generator.device).to(inputs.device)


def _uniform(count: int, inputs: Tensor, generator: Generator) -> Tensor:
    """Draw `count` numbers of [0, 1) for each input: float32 [N, count]."""
    return torch.rand(len(inputs), count, generator=generator, device=generator.device).to(inputs.device)


def _batch(inputs: Tensor) -> Tensor:
    if inputs.ndim != 4:
        raise ValueError(f"inputs {[*inputs.shape]}; allowed: [N, C, H, W]")
    return inputs
