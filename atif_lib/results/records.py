"""Run records: what was run, with what, and what came out; one JSON file a run in `data/results/`.

A record is written once, at the end of a run, by `recording`. The book, the README and the report read records and
nothing else, so that no number is typed by hand.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from atif_lib import paths
from atif_lib.results.environment import (
    device,
    first_process,
    git_state,
    peak_memory_mib,
    reset_peak_memory,
    versions,
)
from atif_lib.results.models import Commit, Model, Number, Sha256, Slug, fault

__all__ = [
    "ADDED",
    "PROFILES",
    "RESULTS",
    "Draft",
    "Record",
    "RecordError",
    "differing",
    "load",
    "load_all",
    "recording",
    "records_of",
    "save",
    "settings_of",
]

Profile = Literal["smoke", "laptop", "full"]
PROFILES: tuple[str, ...] = get_args(Profile)
RESULTS = paths.shipped_results()
ADDED: dict[str, Any] = {
    "start": None,
    "data_start": False,
    "scale_start": False,
    "recipe.scales": [1.0],
    "recipe.save_memory": False,
}
"""Settings that older records lack, and what those runs had: today's defaults, as a test makes sure."""


class RecordError(ValueError):
    """A record that cannot be written or read; the message names the field, and the file where there is one."""


def _utc(text: str) -> str:
    """Refuse a text that is no time in UTC."""
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    if offset is None or offset:
        raise PydanticCustomError("utc", "an ISO 8601 time in UTC")
    return text


def run_id(experiment: str, profile: str, seed: int) -> str:
    """Return the name of a run, of its record and of its folder."""
    return f"{experiment}-{profile}-s{seed}"


class Record(Model):
    """One run. Built by `recording`, stored by `save`, read by `load`; RecordError names a field that is wrong.

    `commit` and `dirty` (see `environment.git_state`) are None outside a git checkout. `epochs` holds one dictionary
    of metrics an epoch or logging step; `result` the final ones, test accuracy being the last epoch's, in percent.

    Of a run that was interrupted and resumed, `commit`, `versions`, `device` and `peak_memory_mib` are of the last
    sitting. Where the others had other code, or another machine or versions, `result` lists all of them, a line each,
    under `commits` and under `machines`.
    """

    experiment: Slug
    profile: Profile
    seed: int = Field(ge=0)
    config: dict[str, Any]
    commit: Commit | None
    dirty: bool | None
    date: Annotated[str, AfterValidator(_utc)]
    versions: dict[str, str | None]
    device: str
    data_sha256: Sha256 | None
    epochs: list[dict[str, Any]]
    result: dict[str, Any]
    wall_s: Number = Field(ge=0)
    peak_memory_mib: Number | None

    def __init__(self, **values: Any) -> None:
        """Raise RecordError for a field of the wrong type or outside what is allowed."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            place, sentence = fault(error, values)
            raise RecordError(": ".join([*map(str, place), sentence])) from None

    @model_validator(mode="after")
    def _commit_and_dirty(self) -> Self:
        if (self.commit is None) != (self.dirty is None):
            raise ValueError(f"dirty={self.dirty!r}; allowed: None exactly when commit is")
        return self

    @property
    def run_id(self) -> str:
        """`<experiment>-<profile>-s<seed>`, also the name of the file."""
        return run_id(self.experiment, self.profile, self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """What was run, by dotted names: `config` without its summary, and with what older records lack of it."""
        return ADDED | settings_of(self.config)

    def metric(self, path: str) -> Any:
        """Return the value at a dotted path into `result` ("sqnr_db", "p.0"), or into `epochs` ("epochs.0.sqnr_db").

        A key may have dots of its own, as the names of layers do ("theta_layers.blocks.0").
        """
        value, rest = {**self.result, "epochs": self.epochs}, path
        try:
            if not path or path.endswith("."):
                raise ValueError
            while rest:
                value, rest = _step(value, rest)
        except (KeyError, IndexError, TypeError, ValueError):
            raise RecordError(f"{self.run_id}: no metric {path!r}; result has {sorted(self.result)}") from None
        return value


def _step(value: Any, path: str) -> tuple[Any, str]:
    """Go from a list or a dictionary to what the beginning of a path names; the rest of the path remains."""
    if isinstance(value, list):
        key, _, rest = path.partition(".")
        return value[int(key)], rest
    key = max((key for key in value if f"{path}.".startswith(f"{key}.")), key=len)
    return value[key], path[len(key) + 1 :]


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration by dotted names, such as `recipe.lr`, as in JSON and without its summary."""
    return {name: value for name, value in _flat(_plain(config, "config")) if name != "summary"}


def differing(*settings: dict[str, Any]) -> list[str]:
    """List the names that have not one value in all settings given, in alphabetical order."""
    first, names = settings[0], sorted(set().union(*settings))
    return [name for name in names if any(own.get(name, ...) != first.get(name, ...) for own in settings)]


def _flat(config: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a dictionary and of those in it, by dotted names."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def save(record: Record, folder: Path | str | None = None) -> Path:
    """Write `record` to `<folder>/<run id>.json`, replacing an earlier run of that id, whole or not at all.

    NumPy and torch values become plain numbers and lists. NaN, infinity and objects JSON lacks are refused.
    """
    values = {name: _plain(value, name) for name, value in record}
    path = Path(folder or paths.results_folder()) / f"{record.run_id}.json"
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(path, lambda file: file.write(text.encode()))
    return path


def _plain(value: Any, name: str) -> Any:
    """Return `value` as JSON types only; `name` is the dotted field an error reports."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}.{index}") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{name}={value}; allowed: a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RecordError(f"{name}={value!r}; allowed: numbers, texts, lists and dictionaries")


def load(path: Path | str) -> Record:
    """Read one record; a malformed file raises `RecordError` naming the file and the field."""
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise RecordError(f"{path}: expected one JSON object, found a {type(values).__name__}")
    try:
        record = Record(**{name: _plain(value, name) for name, value in values.items()})
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    if path.stem != record.run_id:
        raise RecordError(f"{path}: experiment, profile and seed say this is {record.run_id}.json")
    return record


def load_all(folder: Path | str | None = None, validation: bool = False) -> list[Record]:
    """Read every record, by experiment, profile and seed; none where there are none.

    Args:
        folder: the only one to read from, by default those of `paths.results_folders`.
        validation: those of runs that were tested on held-out training examples, in place of all others.

    Raises:
        FileNotFoundError: ``ATIF_RESULTS`` names no folder.
    """
    folders = [Path(folder)] if folder else paths.results_folders()
    folders = [place / "validation" for place in folders] if validation else folders
    found = {path.name: path for place in folders for path in place.glob("*.json")}
    return sorted(map(load, found.values()), key=lambda r: (r.experiment, PROFILES.index(r.profile), r.seed))


def records_of(experiment: str, profile: str | None = None, folder: Path | str | None = None) -> list[Record]:
    """Return the records of one experiment, of one profile or (None) of all, by profile and seed."""
    if profile not in (None, *PROFILES):
        raise RecordError(f"profile={profile!r}; allowed: None, {', '.join(map(repr, PROFILES))}")
    return [r for r in load_all(folder) if r.experiment == experiment and profile in (None, r.profile)]


@dataclass
class Draft:
    """What a run fills in while it goes; `earlier_s`: time before an interruption.

    At its end `record` is set, and `path` where it is saved: of several processes, in the first.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    data_sha256: str | None = None
    earlier_s: float = 0.0
    path: Path | None = None
    record: Record | None = None


def _probe(folder: Path) -> None:
    """Notice before a run, not after it, that its record cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = f"{error.strerror}; ATIF_RESULTS names another folder"
        raise OSError(f"records cannot be written to {folder}: {why}") from error


@contextmanager
def recording(
    experiment: str, profile: str, seed: int, config: dict[str, Any], folder: Path | str | None = None
) -> Iterator[Draft]:
    """Time a run and save its record at the end; a run that raises leaves no record.

    >>> with recording("toy-fixed", "laptop", 0, {"timesteps": 4}) as run:  # doctest: +SKIP
    ...     run.result["sqnr_db"] = measure()
    """
    commit, dirty = git_state()  # of the code as the run starts, not as it may have become by its end
    draft, date, start = Draft(), datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    base = Record(  # what is wrong in it fails now, not after the run
        experiment=experiment,
        profile=profile,
        seed=seed,
        config=_plain(config, "config"),
        commit=commit,
        dirty=dirty,
        date=date,
        versions={},
        device="",
        data_sha256=None,
        epochs=[],
        result={},
        wall_s=0.0,
        peak_memory_mib=None,
    )
    reset_peak_memory()
    _probe(Path(folder or paths.results_folder()))
    yield draft
    measured = {
        "epochs": draft.epochs,
        "result": draft.result,
        "data_sha256": draft.data_sha256,
        "versions": versions(),
        "device": device(),
        "wall_s": round(draft.earlier_s + time.perf_counter() - start, 3),
        "peak_memory_mib": peak_memory_mib(),
    }
    draft.record = Record(**dict(base) | measured)
    if first_process():
        draft.path = save(draft.record, folder)
