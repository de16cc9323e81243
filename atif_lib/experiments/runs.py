"""Run an experiment, tell beforehand what it costs, and find its trained network again."""

import dataclasses
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm import tqdm

from atif_lib import checks, data
from atif_lib.console import duration
from atif_lib.data.storage import file_sha256
from atif_lib.experiments.contract import Context
from atif_lib.experiments.networks import WEIGHTS, NetworkExperiment
from atif_lib.experiments.registry import find
from atif_lib.networks.architectures import Network, cost
from atif_lib.paths import results_folder, runs_folder, weights_folders
from atif_lib.results.environment import device, first_process, git_state, peak_memory_mib, versions
from atif_lib.results.records import PROFILES, RESULTS, Record, differing, load, recording, run_id, settings_of
from atif_lib.training.batches import updates_per_epoch
from atif_lib.training.checkpoints import save_weights
from atif_lib.training.evaluation import evaluate
from atif_lib.training.execution import accelerator, processes, recipe_here
from atif_lib.training.loop import train
from atif_lib.training.recipe import Recipe

__all__ = [
    "CostHere",
    "checked_seed",
    "cost_here",
    "estimate",
    "export",
    "has_weights",
    "in_use",
    "is_done",
    "run",
    "run_folder",
    "staleness",
    "trained",
]

_MOST = 2**63 - 1  # of a seed


def run(name: str, profile: str | None = None, seed: int = 0, resume: bool = False, validation: bool = False) -> Record:
    """Run an experiment and save its record; a network's weights go to its folder of runs.

    Args:
        name: one of ``EXPERIMENTS``.
        profile: one of the experiment's; by default that of its results.
        seed: of weights and draws.
        resume: go on from the checkpoint of an interrupted run, if there is one.
        validation: test on examples held out from the training data; the record goes to ``validation``, a folder of its
            own below the other records.

    Returns:
        The record, as it was saved; of several processes the first saves it.

    Raises:
        ValueError: an unknown name, a profile that the experiment has not, a seed that is none, weights of the run
            that it starts from that are not those of its record, or several processes where no network is trained.
        data.DataUnavailable: its data is not there; the message says how to fetch it.
        FileNotFoundError: the run that it starts from left no weights.
        FileExistsError: without ``resume``, an interrupted run that a new one would destroy.
        RuntimeError: another process trains this run, or several do that torchrun did not start.
        FloatingPointError: the loss or its gradient is not finite.
        OSError: record, checkpoint or weights cannot be written or read.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP; with ``resume=True`` it goes on where it stopped.
    """
    experiment, profile = _at(name, profile)
    seed = checked_seed(seed)
    here, machines = processes()
    if not isinstance(experiment, NetworkExperiment):
        if here * machines > 1:
            raise ValueError(f"{name} in {here * machines} processes; allowed: one, for it trains no network")
        with recording(name, profile, seed, dataclasses.asdict(experiment)) as draft:
            experiment.run(Context(draft, seed))
        assert draft.path is not None  # there is one process, and it saves its record
        return load(draft.path)
    experiment = dataclasses.replace(experiment, validation=validation)
    folder = run_folder(name, profile, seed, validation)
    results = _results(validation)
    start = None
    if experiment.start:
        start = run_folder(experiment.start, profile, seed, validation) / WEIGHTS
        if not start.is_file():
            made = f"train {experiment.start} --profile {profile} --seeds {seed}{' --validation' * validation}"
            raise FileNotFoundError(
                f"{name} starts from {start}, which is not there: python -m atif_lib {made} makes it"
            )
        _refuse_others(start, results / f"{run_id(experiment.start, profile, seed)}.json")
    examples = experiment.examples()  # before anything is written: it may not be there
    with _alone(folder):
        unfinished = (folder / "checkpoint.pt").is_file()
        if unfinished and not resume:
            raise FileExistsError(
                f"{folder} has the checkpoint of an interrupted run: --resume goes on from it; "
                "to start anew, delete the folder"
            )
        with recording(name, profile, seed, dataclasses.asdict(experiment), results) as draft:
            several = _sittings(folder, unfinished)
            experiment.run(Context(draft, seed, folder, resume, start, examples))
            draft.result |= several
        if first_process():
            (folder / "checkpoint.pt").unlink(missing_ok=True)  # a finished run is not to be resumed
    assert draft.record is not None  # the run has ended
    return load(draft.path) if draft.path else draft.record


def checked_seed(seed: Any) -> int:
    """Return the seed of a run as an integer of Python.

    Raises:
        ValueError: it is no integer, or not one that torch and a record can hold: 0 to 2**63 - 1.
    """
    seed = checks.integer("seed", seed, 0)
    if seed > _MOST:
        raise ValueError(f"seed={seed}; allowed: an integer, {_MOST} or less")
    return seed


def _refuse_others(weights: Path, path: Path) -> None:
    """Raise a ValueError where a file of weights is not that of a run's record, if the run has one here.

    A record that names no weights is of an early version; what starts from its run would be stale at once.
    """
    if path.is_file() and not has_weights(load(path), weights):
        raise ValueError(f"{weights} has not the weights of the record {path}: train {path.stem} anew first")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, of several processes of one training the first does; others are refused."""
    if not first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            for left in folder.glob(".*.new"):  # by a run that was killed while it wrote
                left.unlink(missing_ok=True)
            yield
    except Timeout:
        raise RuntimeError(f"{folder} is in use: another process trains this run; wait for it, or stop it") from None


def in_use(folder: Path) -> bool:
    """Tell whether a process trains the run of this folder now."""
    if not (folder / "lock").is_file():
        return False
    try:
        with FileLock(folder / "lock", blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that this process may only read: it cannot know
        return False


def _sittings(folder: Path, resumed: bool) -> dict[str, list[str]]:
    """Note the code and the machine that a run goes on with; return those of all its sittings, where they differ.

    They are noted before the training, because a sitting may end without warning.
    """
    # Else `device` leaves out the GPU, which the training has yet to use.
    if (kind := accelerator()) == "cuda":
        torch.cuda.init()  # no tensor: torchrun's processes have not chosen their GPUs yet
    elif kind == "mps":
        torch.zeros((), device=kind)
    commit, dirty = git_state()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    now = {"commits": f"{commit or 'unknown'}{' and changes' if dirty else ''}", "machines": f"{device()}; {packages}"}
    several = {}
    for name, line in now.items():
        path = folder / f"{name}.txt"
        before = path.read_text(encoding="utf-8").split("\n") if resumed and path.is_file() else []
        lines = list(dict.fromkeys(filter(None, [*before, line])))
        if first_process():
            path.write_text("\n".join(lines), encoding="utf-8")
        if len(lines) > 1:
            several[name] = lines
    return several


def is_done(name: str, profile: str, seed: int, validation: bool = False) -> bool:
    """Tell whether a network's run has ended: its record is there, not stale, and names the weights in its folder.

    Of several processes none can tell, and it is False.
    """
    experiment, profile = _at(name, profile)
    if processes() != (1, 1):  # the machines may not share the records, and all must do the same
        return False
    folder, results = run_folder(name, profile, seed, validation), _results(validation)
    path = results / f"{run_id(name, profile, seed)}.json"
    if (folder / "checkpoint.pt").is_file() or not path.is_file() or not (folder / WEIGHTS).is_file():
        return False
    start = results / f"{run_id(experiment.start, profile, seed)}.json" if experiment.start else None
    if start and not start.is_file():
        return False
    record, experiment = load(path), dataclasses.replace(experiment, validation=validation)
    return not staleness(record, experiment, load(start) if start else None) and has_weights(record, folder / WEIGHTS)


def _results(validation: bool) -> Path:
    return results_folder() / "validation" if validation else results_folder()


def run_folder(name: str, profile: str, seed: int, validation: bool = False) -> Path:
    """Return the folder of a network's checkpoint, metrics.csv and weights, below `paths.runs_folder`."""
    return runs_folder() / f"{run_id(name, profile, seed)}{'-validation' if validation else ''}"


def staleness(record: Record, experiment: NetworkExperiment, start: Record | None) -> str:
    """Say why a record is no longer that of its experiment, in a few words; "" where it is.

    Args:
        record: of a run.
        experiment: as it is now, at the record's profile.
        start: the record of the run that it starts from, where there is one. The two must have had the same data.
    """
    if changed := differing(record.settings, settings_of(dataclasses.asdict(experiment))):
        return f"its configuration has changed: {', '.join(changed)}"
    if start and record.result.get("start_sha256") != start.result.get("weights_sha256"):
        return f"{start.run_id} was trained anew"
    if start and record.data_sha256 != start.data_sha256:
        return f"it was trained on other data than {start.run_id}"
    return ""


class CostHere(NamedTuple):
    """What a run costs on this machine: seconds an update (median; the first), updates, and what was run to tell.

    The median is for inputs at the recipe's scales, each of which is taken to cost its share of the area.
    """

    seconds: float
    first: float
    updates: int
    times: int
    network: Network
    examples: data.Examples
    recipe: Recipe


def cost_here(name: str, profile: str | None = None, count: int = 5) -> CostHere:
    """Measure what a network's run costs on this machine, by taking its first steps; nothing is saved.

    Args:
        name: an experiment that trains a network.
        profile: one of the experiment's; by default that of its results.
        count: steps to take, at least 2: the first compiles, and does not count for the median.

    Raises:
        ValueError: an unknown name or profile, an experiment without a network, a batch larger than its data, or a
            ``count`` of less than 2.
        data.DataUnavailable: its data is not there.
    """
    count = checks.integer("count", count, least=2)
    experiment, _ = _at(name, profile)
    if not isinstance(experiment, NetworkExperiment):
        raise ValueError(f"{name} trains no network; allowed: an experiment that trains one")
    examples, recipe = experiment.examples(), recipe_here(experiment.recipe)
    updates = recipe.epochs * updates_per_epoch(len(examples.train_labels), recipe.batch_size, math.prod(processes()))
    network = experiment.build(examples)
    steps = f"{count} steps of {recipe.batch_size} examples"
    if first_process():
        tqdm.write(f"{name}: taking {steps}, to tell what all would cost", file=sys.stderr)
    # One batch an epoch, so that train() itself tells the time of each update.
    alone = dataclasses.replace(recipe, epochs=count, scales=(1.0,))
    few = examples.thinned(recipe.batch_size)._replace(
        test_inputs=examples.test_inputs[:1], test_labels=examples.test_labels[:1]
    )
    clock = [0.0, *(m["seconds"] for m in train(network, few, alone))]
    first, *times = (after - before for before, after in pairwise(clock))
    return CostHere(recipe.area * median(times), first, updates, len(times), network, examples, recipe)


def estimate(name: str, profile: str | None = None, count: int = 5) -> dict[str, str]:
    """Tell what a network's run costs on this machine, in words.

    Args:
        name: an experiment that trains a network.
        profile: one of the experiment's; by default that of its results.
        count: steps to take, at least 2; see :func:`cost_here`, which also says what it raises.
    """
    step, first, updates, times, network, examples, recipe = cost_here(name, profile, count)
    parameters, macs = cost(network, examples.test_inputs.shape[1:])
    peak = peak_memory_mib()
    return {
        "parameters": f"{parameters:,}",
        "MACs for one input": f"{macs:,} ({network.timesteps} timesteps)",
        "training examples": f"{len(examples.train_labels):,}, source {examples.source}",
        "updates": f"{updates:,} of {recipe.batch_size} examples in {recipe.epochs} epochs",
        "seconds an update": f"{step:.3f} (median of {times}; the first, with compilation, {first:.1f})",
        "training time": f"{duration(step * updates)}, less the tests after each epoch",
        "peak memory": "unknown here" if peak is None else f"{peak:,.0f} MiB",
        "device": str(next(network.parameters()).device),
        "precision": recipe.precision,
    }


def trained(run_id: str) -> tuple[Network, data.Examples]:
    """Return the trained network of a run, with the weights in its folder of runs or committed, and its data.

    Those in the folder are taken only where they are the ones that the run's record names, if it has a record here.

    Raises:
        ValueError: not the name of a run, one that trains no network, or weights that are damaged.
        RuntimeError: the weights do not fit the network as it is now.
        FileNotFoundError: it left no weights here, or those of another training and none are committed.
        data.DataUnavailable: its data is not there.
    """
    parts = re.fullmatch(rf"(.+)-({'|'.join(PROFILES)})-s(\d+)", run_id)
    if parts is None:
        raise ValueError(f"run={run_id!r}; allowed: <experiment>-<profile>-s<seed>{_with_weights(run_id)}")
    experiment, profile = _at(parts[1], parts[2])
    if not isinstance(experiment, NetworkExperiment):
        raise ValueError(f"{parts[1]} trains no network{_with_weights(run_id)}")
    own = run_folder(parts[1], profile, int(parts[3])) / WEIGHTS
    exported = [folder / f"{run_id}.safetensors" for folder in weights_folders()]
    others = own.is_file() and not _are_of_record(own, run_id)
    path = next(filter(Path.is_file, exported if others else [own, *exported]), None)
    why = f"{own} has not the weights of the record of {run_id}"
    if path is None and others:
        raise FileNotFoundError(f"{why}, and none are committed: train it anew{_with_weights(run_id)}")
    if path is None:
        places = " or ".join(map(str, [own, *exported]))
        raise FileNotFoundError(f"{run_id}: no weights at {places}; `train` makes them{_with_weights(run_id)}")
    if others:
        tqdm.write(f"{why}: {path} is taken", file=sys.stderr)
    examples = experiment.examples()
    network = experiment.build(examples)
    try:
        network.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return network.eval(), examples


def _are_of_record(weights: Path, run_id: str) -> bool:
    """Tell whether a file has the weights that the run's record names; True where there is no record to hold it to."""
    places = (folder / f"{run_id}.json" for folder in (results_folder(), RESULTS))
    record = next((load(path) for path in places if path.is_file()), None)
    return record is None or has_weights(record, weights)


def has_weights(record: Record, path: Path) -> bool:
    """Tell whether a file has the weights that a record names; False of a record that names none."""
    return record.result.get("weights_sha256") == file_sha256(path)


def _with_weights(run_id: str) -> str:
    """Name runs whose weights are here, those of like names first, to go behind an error; "" where there are none."""
    found = {path.parent.name for path in runs_folder().glob(f"*/{WEIGHTS}")}
    found |= {path.stem for folder in weights_folders() for path in folder.glob("*.safetensors")}
    found -= {name for name in found if name.endswith("-validation")}
    names = get_close_matches(run_id, sorted(found), 8, cutoff=0)
    more = [f"{len(found) - len(names)} more"] if len(found) > len(names) else []
    return f"; weights are here of {', '.join([*names, *more])}" if names else ""


def export(run_id: str, folder: Path) -> tuple[Path, float, float]:
    """Write a trained network's weights in half precision, which `trained` reads as it reads the others.

    Args:
        run_id: as for :func:`trained`.
        folder: gets ``<run_id>.safetensors``.

    Returns:
        The file, and the test accuracy in percent before and with the weights of the file.

    Raises:
        ValueError, FileNotFoundError, data.DataUnavailable: as for :func:`trained`; a weight beyond half precision.
        OSError: the file cannot be written.
    """
    network, examples = trained(run_id)
    before = evaluate(network, examples)["test_accuracy"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run_id}.safetensors"
    save_weights(network, path, torch.float16)
    network.load_state_dict(load_file(path))
    return path, before, evaluate(network, examples)["test_accuracy"]


def _at(name: str, profile: str | None) -> tuple[Any, str]:
    experiment = find(name)
    profile = profile or experiment.profiles[-1]
    checks.choice(f"profile of {name}", profile, experiment.profiles)
    return experiment.at(profile), profile
