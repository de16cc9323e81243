"""Data on disk: brought from the first source that works, verified, put in place whole or not at all, read as tensors.

A data set is one file, `NAME.bin` in `data_folder`. Where its sha256 is known beforehand, it is held to it. Where the
file is computed (features of sounds), its source verifies what it computes from, and the file is held to the sha256
noted in `NAME.source` when it was made.
"""

import errno
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from atif_lib import checks
from atif_lib.paths import data_folder

LOCK_SECONDS = 3600
DISK_ERRORS = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS") if hasattr(errno, name)}

Source = Callable[[Path], Iterator[np.ndarray]]  # takes a work folder, yields the file's parts in order
Unpack = Callable[[np.ndarray, bool], tuple[Tensor, Tensor, Tensor, Tensor]]


class DataUnavailable(RuntimeError):  # noqa: N818
    """The data is not there and could not be brought; the message says what was tried and what to do."""


class DataCorrupt(RuntimeError):  # noqa: N818
    """The data that is there does not have the expected checksum."""


class Examples(NamedTuple):
    """Inputs with their labels, for training and for testing.

    Inputs are images uint8 [N, C, H, W] in 0..255 or features float16 [N, 1, frames, coefficients]; labels are
    int64 [N] into `classes`; `source` says where the examples came from (official, npm, scikit-learn,
    folder, ...); `sha256` is that of all of them, also of those that a validation split leaves out; `whole` is False
    where the source had only a part of the data set, which `source` then says.
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    name: str
    source: str
    sha256: str
    whole: bool = True

    def to(self, device: torch.device | str) -> "Examples":
        """Return the same examples on a device."""
        return self._replace(**{name: getattr(self, name).to(device) for name in self._fields[:4]})

    def thinned(self, count: int) -> "Examples":
        """Return so many training and test examples, evenly spaced, so that sorted ones keep all their classes."""
        return self._spaced(count, self._fields[:4])

    def tested_on(self, count: int) -> "Examples":
        """Return so many test examples, evenly spaced, and all for training, which the normalisation is made of."""
        return self._spaced(count, self._fields[2:4])

    def _spaced(self, count: int, names: tuple[str, ...]) -> "Examples":
        count = checks.integer("count", count)

        def some(values: Tensor) -> Tensor:
            return values[torch.arange(min(count, len(values))) * len(values) // min(count, len(values))]

        return self._replace(**{name: some(getattr(self, name)) for name in names})


class Dataset(NamedTuple):
    """How a data set is brought and read: `sources` are tried in order; each yields the parts of the same file."""

    classes: tuple[str, ...]
    sources: tuple[tuple[str, Source], ...]
    unpack: Unpack  # the file's bytes, uint8 [bytes], and `validation` to the first four fields of Examples
    hint: str  # what to do where no source works
    sha256: str = ""  # of the file; empty where it is computed and so differs between machines
    parts: int | None = None  # how many a source yields, for the progress bar
    installed: bool = False  # comes with a package, so that `read` may fetch
    size: int | None = None  # bytes of the whole, where a source may have only a part of it


def read(name: str, data: Dataset, validation: bool = False) -> Examples:
    """Return the verified examples of `data`; DataUnavailable (with the command to run), DataCorrupt."""
    path = data_folder() / f"{name}.bin"
    if data.installed:
        fetch(name, data, progress=False)
    command = f"python -m atif_lib data {name}"
    try:
        packed = np.fromfile(path, np.uint8)
        source, expected = _note(data, path)
    except OSError as error:
        reason = f"{error.filename} is not there" if isinstance(error, FileNotFoundError) else error
        raise DataUnavailable(f"{name}: {reason}; to fetch it, run: {command}") from error
    found = hashlib.sha256(packed.data).hexdigest()
    if found != expected:
        raise DataCorrupt(f"{path} has sha256 {found}, not {expected or 'a noted one'}; delete it, then run: {command}")
    size = data.size or len(packed)
    whole = size == len(packed)
    source += "" if whole else f", {100 * len(packed) / size:.2g} % of the data set"
    return Examples(*data.unpack(packed, validation), data.classes, name, source, found, whole)


def fetch(name: str, data: Dataset, progress: bool = True) -> Path:
    """Bring `data` into `data_folder`, unless it is there; return its file; DataUnavailable."""
    path = data_folder() / f"{name}.bin"
    try:
        if not _is_there(data, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(path):  # of two processes, one brings it
                if not _is_there(data, path):
                    _bring(data, path, progress)
    except Timeout:
        hours = LOCK_SECONDS / 3600
        raise DataUnavailable(
            f"{name}: another process has been bringing it for {hours:g} hours; end it first"
        ) from None
    except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where a file system has no locks
        raise DataUnavailable(f"{name}: cannot use folder {path.parent}: {error}; set ATIF_DATA to another") from error
    return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file; say on standard error when another process has it, and wait."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"{path.stem}: another process is bringing it; waiting for that (Ctrl-C ends this)", file=sys.stderr)
        lock.acquire(timeout=LOCK_SECONDS)
    try:
        yield
    finally:
        lock.release()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo | str) -> bytes:
    """Return the content of a file in an archive; a ValueError for what is no file."""
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{archive.name}: {member} is no file")
    return file.read()


def _note(data: Dataset, path: Path) -> tuple[str, str]:
    """Return the source of the file at `path` and the sha256 that it must have."""
    note = path.with_suffix(".source")
    words = note.read_text("utf-8", "replace").rsplit(maxsplit=1) if note.is_file() else ["unknown"]
    source, noted = [*words, "", ""][:2]  # an empty or damaged note says less
    return source, data.sha256 or noted


def _is_there(data: Dataset, path: Path) -> bool:
    return path.is_file() and file_sha256(path) == _note(data, path)[1]


def _bring(data: Dataset, path: Path, progress: bool) -> None:
    """Write the parts of the first source that has the right ones to `path`; DataUnavailable says why none has."""
    for left in path.parent.glob(f".{path.stem}-*"):  # by a killed fetch: whoever holds the lock is alone
        shutil.rmtree(left, ignore_errors=True)
    failed = []
    for source, parts in data.sources:
        with TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent, ignore_cleanup_errors=True) as work:
            try:
                new = Path(work, "new.bin")
                with new.open("wb") as file:
                    for part in tqdm(parts(Path(work)), f"{path.stem}, {source}", data.parts, disable=not progress):
                        file.write(part.data)
                found = file_sha256(new)
                if found != (data.sha256 or found):
                    raise ValueError(f"its examples have not the sha256 {data.sha256}: broken or tampered with")
                path.with_suffix(".source").write_text(f"{source} {found}", "utf-8")
                return os.replace(new, path)
            except Exception as error:  # a source may fail in any way: keep the reason, try the next
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise  # no other source would help
                failed.append(f"  {source}: {type(error).__name__}: {error}")
    tried = "\n".join(failed)
    raise DataUnavailable(f"{path.stem}: no source worked for {path.parent}:\n{tried}\nWhat to do: {data.hint}.")
