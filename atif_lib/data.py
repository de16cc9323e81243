"""The front door to the data: data sets by name, and what scales them.

Examples are held as they are stored (uint8 pictures, float16 features), and turned to floats a batch at a time.
"""

import difflib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from atif_lib import pictures, speech, storage
from atif_lib.storage import DataCorrupt, DataUnavailable, Examples, data_root

__all__ = [
    "DATASETS",
    "DataCorrupt",
    "DataUnavailable",
    "Examples",
    "data_root",
    "fetch",
    "load",
    "normalizer",
]

DATASETS = {**pictures.DATASETS, **speech.DATASETS}


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
    data = _dataset(name)
    return speech.fetch(name, progress) if name in speech.NAMES else storage.fetch(name, data, progress)


def normalizer(examples: Examples) -> Callable[[Tensor], Tensor]:
    """Return a function that takes inputs to (inputs - mean) / std, float32, on their device.

    Mean and standard deviation are those of the training inputs: of each channel of pictures [N, C, H, W], of each
    coefficient of features [N, 1, frames, coefficients]. Inputs may be mixed ones: floats in the same scale.
    """
    inputs, shape = examples.train_inputs, examples.train_inputs.shape[1:]
    mean, std = _picture_statistics(inputs) if inputs.dtype == torch.uint8 else _statistics(inputs)

    def normalize(inputs: Tensor) -> Tensor:
        if inputs.shape[1:] != shape:
            raise ValueError(f"inputs {[*inputs.shape]}; allowed: [N, {', '.join(map(str, shape))}]")
        return inputs.float().sub(mean.to(inputs.device)).div_(std.to(inputs.device))

    return normalize


def _picture_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    levels = torch.arange(256, device=images.device, dtype=torch.float64)
    counts = torch.stack([images[:, c].flatten().bincount(minlength=256) for c in range(images.shape[1])])
    share = counts / counts.sum(1, keepdim=True).double()  # exact whatever the number of pixels
    mean = share @ levels
    std = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float()[:, None, None], std.float()[:, None, None]


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    std, mean = torch.std_mean(features.double(), (0, 1, 2), correction=0)
    return mean.float(), std.float()
