"""The front door to the data: data sets by name, and what scales them.

Examples are held as they are stored (uint8 images, float16 features), and turned to floats a batch at a time.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atif_lib import checks
from atif_lib.data import images, speech, storage
from atif_lib.data.storage import Examples

__all__ = ["DATASETS", "fetch", "load", "normalizer"]

DATASETS = {**images.DATASETS, **speech.DATASETS}


def _dataset(name: str) -> storage.Dataset:
    checks.choice("name", name, DATASETS)
    return DATASETS[name]


def load(name: str, validation: bool = False) -> Examples:
    """Return a data set, verified.

    Args:
        name: one of ``DATASETS``.
        validation: test on examples held out from the training data, in place of the test set.

    Raises:
        ValueError: another name.
        DataUnavailable: it is not there; the message has the command that fetches it.
        DataCorrupt: its file has another checksum.
    """
    return storage.read(name, _dataset(name), validation)


def fetch(name: str, progress: bool = True) -> Path:
    """Bring a data set into `data_folder`, unless it is there, and return its file.

    Raises:
        ValueError: another name than those of ``DATASETS``.
        DataUnavailable: no source could serve it; the message says what to do.
    """
    data = _dataset(name)
    return speech.fetch(name, progress) if name in speech.NAMES else storage.fetch(name, data, progress)


def normalizer(examples: Examples) -> Callable[[Tensor], Tensor]:
    """Return a function that takes inputs to (inputs - mean) / std, float32, on their device.

    Mean and standard deviation are those of the training inputs: of each channel of images [N, C, H, W], of each
    coefficient of features [N, 1, frames, coefficients]. Floats with one channel are features, all others images.
    Where all values of a channel or a coefficient are equal, there is nothing to divide by: they become 0.
    Inputs may be mixed ones: floats in the same scale.

    Raises:
        ValueError: no training inputs, some of another shape, or one that holds NaN or infinite values.
    """
    inputs, shape = examples.train_inputs, examples.train_inputs.shape[1:]
    if inputs.dim() != 4 or not inputs.numel():
        raise ValueError(f"train_inputs {[*inputs.shape]}; allowed: [N, C, H, W], 1 or more of each")
    mean, std = _histogram_statistics(inputs) if inputs.dtype == torch.uint8 else _statistics(inputs)
    if not np.isfinite(std).all():
        bad = int((~inputs.isfinite()).sum())
        raise ValueError(f"train_inputs hold {bad} NaN or infinite values of {inputs.numel()}; allowed: finite ones")
    std[std <= np.finfo(np.float32).eps * np.abs(mean)] = 1.0  # equal values, but for the rounding of their mean
    mean, std = (torch.from_numpy(values.astype(np.float32)) for values in (mean, std))

    def normalize(inputs: Tensor) -> Tensor:
        if inputs.shape[1:] != shape:
            raise ValueError(f"inputs {[*inputs.shape]}; allowed: [N, {', '.join(map(str, shape))}]")
        return inputs.float().sub(mean.to(inputs.device)).div_(std.to(inputs.device))

    return normalize


# In NumPy, on the CPU: there are devices without float64, such as Apple's.
def _histogram_statistics(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel of uint8 images, float64 [C, 1, 1], from the counts of 256."""
    counts = [images[:, c].flatten().bincount(minlength=256) for c in range(images.shape[1])]
    share = torch.stack(counts).cpu().numpy() / (images.numel() // images.shape[1])
    levels = np.arange(256)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(1))
    return mean[:, None, None], std[:, None, None]


def _statistics(inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, float64: [coefficients] of features, [C, 1, 1] of images."""
    values, axes = inputs.cpu().float().numpy(), (0, 1, 2) if inputs.shape[1] == 1 else (0, 2, 3)
    with np.errstate(invalid="ignore"):  # of NaN and infinite values, which the caller names
        mean, std = (np.asarray(f(values, axis=axes, dtype=np.float64)) for f in (np.mean, np.std))
    return (mean, std) if inputs.shape[1] == 1 else (mean[:, None, None], std[:, None, None])
