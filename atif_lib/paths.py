"""Where things live, in a checkout and for an installed package, and the variables that name another place.

=================  ================  ==================  =====================================================
what               variable          in a checkout       installed
=================  ================  ==================  =====================================================
run records        ``ATIF_RESULTS``  ``data/results``    ``atif/results`` of the working folder; those that
                                                         come with the package are read too
networks' runs     ``ATIF_RUNS``     ``_build/runs``     ``atif/runs`` of the working folder
exported weights                     ``data/weights``    ``atif/weights`` of the working folder; those that
                                                         come with the package are read too
figures            ``ATIF_FIGURES``  ``_build/figures``  ``atif/figures`` of the working folder
data sets          ``ATIF_DATA``     ``data/cache``      ``$XDG_CACHE_HOME/atif_lib``, ``~/.cache/atif_lib``
=================  ================  ==================  =====================================================

Nothing is ever written into an installed package. In a variable ``~`` is the home folder, and an empty one counts as
none. What must not be left half written is written by `write_whole`.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

__all__ = [
    "CHECKOUT",
    "SHIPPED",
    "data_folder",
    "figures_folder",
    "make_absolute",
    "make_folder",
    "results_folder",
    "results_folders",
    "runs_folder",
    "shipped_results",
    "weights_folder",
    "weights_folders",
    "write_whole",
]

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "data" / "manifest.yml").is_file() else None
"""The checkout that this package lies in; None for an installed one."""

SHIPPED = CHECKOUT / "data" if CHECKOUT else _PACKAGE / "shipped"
"""The manifest, the committed records and the small weights; pyproject.toml maps ``data`` into the package."""


def make_absolute() -> None:
    """Make the variables' folders absolute, for processes started elsewhere, as the chapters are."""
    for variable in ("ATIF_DATA", "ATIF_FIGURES", "ATIF_RESULTS", "ATIF_RUNS"):
        if os.environ.get(variable):
            os.environ[variable] = str(_named(variable))


def make_folder(name: str, folder: Path) -> None:
    """Make a folder that an argument names.

    Raises:
        ValueError: it is a file, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{name}={str(folder)!r}; allowed: a folder that is there or can be made ({error})") from error


def results_folder() -> Path:
    """Return the folder that records are written to."""
    return _folder("ATIF_RESULTS", "data/results", "results")


def results_folders() -> tuple[Path, ...]:
    """Return the folders that records are read from; of two records of one name the later counts.

    Raises:
        FileNotFoundError: ``ATIF_RESULTS`` names no folder: a wrong name is not a folder without records.
    """
    own = results_folder()
    if not os.environ.get("ATIF_RESULTS"):
        return tuple(dict.fromkeys((shipped_results(), own)))
    if not own.is_dir():
        named = os.environ["ATIF_RESULTS"]
        raise FileNotFoundError(f"ATIF_RESULTS={named}: {own} is no folder; allowed: one with records")
    return (own,)


def shipped_results() -> Path:
    """Return the folder of the committed records, which come with the package too."""
    return SHIPPED / "results"


def runs_folder() -> Path:
    """Return the folder of checkpoints, metrics and weights, a folder a run."""
    return _folder("ATIF_RUNS", "_build/runs", "runs")


def weights_folder() -> Path:
    """Return the folder that weights are exported to."""
    return _folder(None, "data/weights", "weights")


def weights_folders() -> tuple[Path, ...]:
    """Return the folders in which exported weights are looked for, the first one first."""
    return tuple(dict.fromkeys((weights_folder(), SHIPPED / "weights")))


def figures_folder() -> Path:
    """Return the folder that figures and their data are written to."""
    return _folder("ATIF_FIGURES", "_build/figures", "figures")


def data_folder() -> Path:
    """Return the folder of fetched data sets, which all projects of a user share where there is no checkout."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _folder("ATIF_DATA", "data/cache", Path(cache).expanduser().absolute() / "atif_lib")


def write_whole(path: Path, write_to: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all, by what ``write_to`` puts into it; of several processes, any may.

    Raises:
        OSError: the file cannot be written; the one before is kept.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.new")
    try:
        with temporary.open("wb") as file:
            write_to(file)
            file.flush()
            os.fsync(file.fileno())  # of the handle that wrote: Windows refuses another
        _replace(path, temporary)
    except (OSError, RuntimeError) as error:  # torch.save: RuntimeError on a full disk
        kept = "the one before is kept" if path.exists() else "there is none yet"
        if path.parent.is_dir():  # torch does not say when it was the disk
            kept += f"; {shutil.disk_usage(path.parent).free / 2**20:.1f} MiB free on its disk"
        raise OSError(f"cannot write {path} ({kept}): {error}") from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def _replace(path: Path, temporary: Path) -> None:
    """Put a file in another's place. On Windows that fails while somebody reads the other: then try for a while."""
    until = time.monotonic() + (5 if os.name == "nt" else 0)
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.1)


def _folder(variable: str | None, inside: str, outside: str | Path) -> Path:
    """Return the folder that a variable names, else the one in the checkout, else the one below the working folder."""
    if variable and os.environ.get(variable):
        return _named(variable)
    return CHECKOUT / inside if CHECKOUT else Path.cwd() / "atif" / outside


def _named(variable: str) -> Path:
    return Path(os.environ[variable]).expanduser().absolute()
