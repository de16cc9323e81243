"""The front door to the data: data sets by name, batches of them, and what scales them.

Examples are held as they are stored (uint8 pictures, float16 features), and turned to floats a batch at a time.
"""

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from atif_lib import pictures, storage
from atif_lib.storage import DataCorrupt, DataUnavailable, Examples, data_root

__all__ = [
    "DATASETS",
    "DataCorrupt",
    "DataUnavailable",
    "Examples",
    "batches",
    "channel_stats",
    "data_root",
    "fetch",
    "load",
    "random_crop_flip",
    "to_float",
]

Augment = Callable[[Tensor], Tensor]
DATASETS = {**pictures.DATASETS}


def _dataset(name: str) -> storage.Dataset:
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name), DATASETS, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"name={name!r} is no data set{hint}; allowed: {', '.join(DATASETS)}")
    return DATASETS[name]


def load(name: str, validation: bool = False) -> Examples:
    """Return the verified data set `name`; DataUnavailable (with the command to run), DataCorrupt, ValueError."""
    return storage.read(name, _dataset(name), validation)


def fetch(name: str, progress: bool = True) -> Path:
    """Bring data set `name` into `data_root`, if it is not there, and return its file; DataUnavailable, ValueError."""
    return storage.fetch(name, _dataset(name), progress)


def channel_stats(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, float32 [C] in 0..1, of uint8 images [N, C, H, W]."""
    levels = torch.arange(256, device=images.device, dtype=torch.float64) / 255
    counts = torch.stack([_uint8(images)[:, c].flatten().bincount(minlength=256) for c in range(images.shape[1])])
    share = counts / counts.sum(1, keepdim=True).double()  # exact whatever the number of pixels
    mean = share @ levels
    return mean.float(), (share * (levels - mean[:, None]) ** 2).sum(1).sqrt().float()


def to_float(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return (images / 255 - mean) / std of uint8 images [N, C, H, W]; mean, std [C] in 0..1 (see `channel_stats`)."""
    if mean.shape != images.shape[1:2] or std.shape != mean.shape:
        raise ValueError(f"mean, std of shapes {[*mean.shape]}, {[*std.shape]}; allowed: {[*images.shape[1:2]]} both")
    mean, std = (value.to(images.device, torch.float32)[:, None, None] for value in (mean, std))
    return _uint8(images).to(torch.float32).div_(255).sub_(mean).div_(std).to(dtype)


def _uint8(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} {[*images.shape]}; allowed: torch.uint8 [N, C, H, W]")
    return images


def batches(
    images: Tensor, labels: Tensor, batch_size: int, generator: Generator | None = None, augment: Augment | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over all (augment(images), labels), batch_size at a time, shuffled by the generator or else in order."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; allowed: 1 or more")
    if len(labels) != len(images) or labels.device != images.device:
        raise ValueError(f"{len(labels)} labels on {labels.device}; allowed: {len(images)} on {images.device}")
    order = torch.arange(len(images))
    if generator is not None:
        order = torch.randperm(len(images), generator=generator, device=generator.device)
    change = augment or (lambda batch: batch)
    return ((change(images[part]), labels[part]) for part in order.to(images.device).split(batch_size))


def random_crop_flip(images: Tensor, generator: Generator | None = None, padding: int = 4) -> Tensor:
    """Crop each image [N, C, H, W] at its own random offset after zero padding; mirror it with probability 1/2."""
    if images.ndim != 4 or padding < 0:
        raise ValueError(f"images {[*images.shape]}, padding={padding}; allowed: [N, C, H, W], 0 or more")
    height, width = images.shape[2:]
    draw = partial(torch.randint, size=(len(images),), generator=generator, device=getattr(generator, "device", None))
    top, left, mirror = (draw(high).to(images.device) for high in (2 * padding + 1, 2 * padding + 1, 2))
    windows = pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: nothing is copied yet
    crops = windows[torch.arange(len(images), device=images.device), :, top, left]
    return torch.where(mirror.bool()[:, None, None, None], crops.flip(3), crops)
