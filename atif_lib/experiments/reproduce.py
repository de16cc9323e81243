"""One command a table: which runs it needs, what is missing, how long that takes here; and running it, again and again.

A run of several stages depends on the run that it starts from. What is there already is found by its record; a record
whose experiment was changed since, or whose first stage was trained anew, is stale and is made again.
"""

import csv
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from tqdm import tqdm

from atif_lib import checks
from atif_lib.console import duration
from atif_lib.data import DataUnavailable
from atif_lib.experiments.networks import WEIGHTS, NetworkExperiment
from atif_lib.experiments.registry import find
from atif_lib.experiments.runs import checked_seed, cost_here, has_weights, in_use, run_folder, staleness
from atif_lib.paths import make_absolute, runs_folder, write_whole
from atif_lib.results import records
from atif_lib.results.environment import device
from atif_lib.results.manifest import Manifest, load
from atif_lib.results.records import Record
from atif_lib.training.checkpoints import handle_stops, tell_stop

__all__ = ["PROTOCOLS", "Job", "Plan", "cores", "describe", "plan", "run", "seconds_here", "snakefile"]

PROTOCOLS = {"staged": "-staged", "fast": "", "paper": "-paper"}
"""The ending of an experiment's name for each protocol."""

LOG = "log.txt"  # in a run's folder: what it says
COSTS = "seconds.json"  # in the folder of runs: how long each kind of run would take, as measured last


class Job(NamedTuple):
    """One run of a plan. ``start`` is the id of the run before it.

    ``state`` is done, stale, running (in another process), interrupted or missing.
    """

    experiment: str
    profile: str
    seed: int
    state: str
    start: str | None
    why: str = ""

    @property
    def run_id(self) -> str:
        """Name of the run and of its record."""
        return records.run_id(self.experiment, self.profile, self.seed)

    @property
    def folder(self) -> Path:
        """Where its checkpoint, metrics and weights are."""
        return run_folder(self.experiment, self.profile, self.seed)


class Plan(NamedTuple):
    """The runs of some tables, each behind the one that it starts from."""

    tables: tuple[int, ...]
    jobs: tuple[Job, ...]

    @property
    def open(self) -> list[Job]:
        """Runs that are not done."""
        return [job for job in self.jobs if job.state != "done"]


def plan(
    tables: Iterable[int],
    seeds: Sequence[int] = (0,),
    protocol: str = "staged",
    profile: str | None = None,
    manifest: Manifest | None = None,
) -> Plan:
    """Find the runs that tables of the paper need, and which of them are there.

    Args:
        tables: their numbers.
        seeds: of every run.
        protocol: one of ``PROTOCOLS``.
        profile: by default that of the experiments' results.
        manifest: by default the project's.

    Raises:
        ValueError: an unknown protocol or table, a profile that the experiments have not, or no seed or a wrong one.
    """
    checks.choice("protocol", protocol, PROTOCOLS)
    if not seeds:
        raise ValueError("seeds=[]; allowed: one or more")
    seeds = [checked_seed(seed) for seed in dict.fromkeys(seeds)]
    tables = list(tables)
    found: dict[str, Record] = {}
    with suppress(FileNotFoundError):  # ATIF_RESULTS may name a folder that the first run makes
        found = {r.run_id: r for r in records.load_all()}
    jobs: dict[str, Job] = {}
    for seed in seeds:
        for name in _experiments(tables, protocol, manifest or load()):
            _add(jobs, name, profile or find(name).profiles[-1], seed, found)
    for job in reversed(jobs.values()):  # a first stage whose record came without its weights is trained anew
        start = jobs.get(job.start or "")
        if start and job.state != "done" and start.state == "done" and (why := _weights_lack(start, found)):
            jobs[start.run_id] = start._replace(state="missing", why=why)
    for job in jobs.values():  # each behind the one that it starts from
        start = jobs.get(job.start or "")
        if start and job.state == "done" and (start.state != "done" or start.why):
            why = f"stale then, unless {start.run_id} comes out with the same weights again"
            jobs[job.run_id] = job._replace(why=start.why if start.state == "done" else why)
    return Plan(tuple(tables), tuple(jobs.values()))


def _weights_lack(job: Job, found: dict[str, Record]) -> str:
    """Say why no run can start from the weights of a run that has a record; "" where it can."""
    path = job.folder / WEIGHTS
    if not path.is_file():
        return "its weights are not here"
    return "" if has_weights(found[job.run_id], path) else "its weights are not those of its record"


def _experiments(tables: Iterable[int], protocol: str, manifest: Manifest) -> list[str]:
    """List the experiments of the tables' cells in the paper's order."""
    names: dict[str, None] = {}
    for number in tables:
        cells = [e for e in manifest.entries if e.where == f"Table {number}"]
        if not cells:
            raise ValueError(f"table={number!r}; allowed: 1, 2 or 3")
        for quantity in (found for cell in cells for found in cell.quantities):
            names[quantity.experiment.removesuffix("-staged") + PROTOCOLS[protocol]] = None
    return list(names)


def _add(jobs: dict[str, Job], name: str, profile: str, seed: int, found: dict[str, Record]) -> Job:
    """Add a run, behind the one that it starts from."""
    experiment = _network(name)
    checks.choice(f"profile of {name}", profile, experiment.profiles)
    start = _add(jobs, experiment.start, profile, seed, found) if experiment.start else None
    job = Job(name, profile, seed, "missing", start.run_id if start else None)
    if job.run_id not in jobs:
        jobs[job.run_id] = job._replace(**_state(job, experiment, start, found))
    return jobs[job.run_id]


def _network(name: str) -> NetworkExperiment:
    """Return the experiment of a table's cell, which trains a network."""
    experiment = find(name)
    if not isinstance(experiment, NetworkExperiment):
        raise ValueError(f"{name} trains no network; allowed in a table: one that does")
    return experiment


def _state(job: Job, experiment: NetworkExperiment, start: Job | None, found: dict[str, Record]) -> dict[str, str]:
    record = found.get(job.run_id)
    if record is not None:
        why = staleness(record, experiment.at(job.profile), found.get(start.run_id) if start else None)
        if not why and start and start.state == "stale":
            why = f"{start.run_id}, which it starts from, is stale"
        return {"state": "stale", "why": why} if why else {"state": "done"}
    if in_use(job.folder):
        return {"state": "running", "why": "in another process"}
    return {"state": "interrupted" if (job.folder / "checkpoint.pt").is_file() else "missing"}


def snakefile(found: Plan, jobs: int = 1) -> str:
    """Write the plan as a Snakemake workflow: a rule a run, behind the rule of the run that it starts from.

    Snakemake's executors run it on the cores of a machine, on SLURM or in a cloud. A rule's output is a stamp in a
    folder of this workflow alone: records of stale runs are there already. Checkpoints are no output, so that a job
    that was stopped goes on where it was. A rule asks for a run's share of the cores where so many run side by side.

    Raises:
        ValueError: ``jobs`` is not at least 1.
    """
    command = f"snakemake --cores {cores(jobs)} --snakefile FILE"
    lines = [
        f"# Written by `python -m atif_lib reproduce --snakefile`; run it with `{command}`.",
        f"PYTHON = {shlex.quote(sys.executable)!r}",
        f"DONE = {str(runs_folder() / f'snakemake-{time.time_ns()}')!r}",
        "",
        "rule all:",
        "    input:",
        *[f'        f"{{DONE}}/{job.run_id}",' for job in found.open],
        "",
    ]
    todo = {job.run_id for job in found.open}
    for job in found.open:
        lines += [f"rule {job.run_id.replace('-', '_')}:"]
        if job.start in todo:
            lines += [f'    input: f"{{DONE}}/{job.start}"']
        lines += [f'    output: touch(f"{{DONE}}/{job.run_id}")', f"    threads: {_threads(jobs)}"]
        lines += [f'    shell: "OMP_NUM_THREADS={{threads}} {{PYTHON}} {" ".join(_arguments(job))}"', ""]
    return "\n".join(lines)


def _arguments(job: Job) -> list[str]:
    options = ["--profile", job.profile, "--seeds", str(job.seed), "--resume"]
    return ["-m", "atif_lib", "train", job.experiment, *options]


def seconds_here(found: Plan, jobs: int = 1, anew: bool = True) -> dict[str, float]:
    """Measure by a few updates how many seconds each open run would take here, by its id, with its share of the cores.

    What an interrupted run has done is left out of account.

    Args:
        found: see `plan`.
        jobs: runs side by side.
        anew: False takes what was measured last on this device with as many threads, and measures the rest.

    Raises:
        ValueError: ``jobs`` is not at least 1.
        data.DataUnavailable: data is not there; the message says how to fetch all that lacks.
    """
    jobs = checks.integer("jobs", jobs)
    before = torch.get_num_threads()
    torch.set_num_threads(_threads(jobs))
    try:
        kind_of = {job.run_id: f"{job.experiment}, {job.profile}, {device()}" for job in found.open}
        known = _costs()
        todo = {kind_of[job.run_id]: job for job in found.open if anew or kind_of[job.run_id] not in known}
        _need_data(todo.values())
        if todo:
            compiling = "to compile a spiking network takes a minute or more"
            tqdm.write(f"timing {len(todo)} kinds of run; {compiling}", file=sys.stderr)
        for kind, job in tqdm(todo.items(), desc="measuring", unit="run", leave=False, disable=None):
            known[kind] = _seconds_of(job.experiment, job.profile)
            _keep_costs(_costs() | {kind: known[kind]})
    finally:
        torch.set_num_threads(before)
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()  # the runs to come need it
    return {
        job.run_id: known[kind_of[job.run_id]] * (1 - min(1.0, _epochs_done(job) / _epochs(job))) for job in found.open
    }


def _need_data(jobs: Iterable[Job]) -> None:
    """Ask for the data of all runs, before the first is timed, so that all that lacks is named at once."""
    experiments = {(e.dataset, e.limit): e for e in (_network(j.experiment).at(j.profile) for j in jobs)}
    lacking = []
    for experiment in experiments.values():
        try:
            experiment.examples()
        except DataUnavailable as error:
            lacking.append(str(error))
    if lacking:
        raise DataUnavailable("; ".join(lacking))


def _costs() -> dict[str, float]:
    """Return what was measured before; of a file that is no such thing, nothing."""
    with suppress(FileNotFoundError, ValueError, AttributeError):
        found = json.loads((runs_folder() / COSTS).read_text(encoding="utf-8"))
        return {kind: seconds for kind, seconds in found.items() if isinstance(seconds, float)}
    return {}


def _keep_costs(costs: dict[str, float]) -> None:
    runs_folder().mkdir(parents=True, exist_ok=True)
    write_whole(runs_folder() / COSTS, lambda file: file.write(json.dumps(costs, indent=1).encode()))


def _seconds_of(experiment: str, profile: str) -> float:
    """Measure how long a run takes here; the network is gone when it returns."""
    cost = cost_here(experiment, profile, count=2)
    return cost.seconds * cost.updates


def describe(found: Plan, seconds: dict[str, float] | None = None, jobs: int = 1) -> str:
    """Say for each run whether it is there, in the order of running; with ``seconds``, how long the open ones take."""
    lines = []
    for n, job in enumerate(found.jobs, 1):
        if seconds and job.run_id not in seconds:
            continue
        took = f"  {duration(seconds[job.run_id])}" if seconds and job.run_id in seconds else ""
        why = f" ({job.why})" if job.why else ""
        lines.append(f"{n:3}  {job.state:11} {job.run_id}{why}{took}")
    done = len(found.jobs) - len(found.open)
    if seconds is None:
        return "\n".join([*lines, f"{done} of {len(found.jobs)} runs are done"])
    doubtful = sum(bool(job.why) for job in found.jobs if job.state == "done")
    more = f", and {doubtful} that are done would be made again if they turn stale" if doubtful else ""
    hours = duration(3600 * _hours(seconds, jobs))
    sharing = f", {jobs} side by side with {_threads(jobs)} thread{'s' * (_threads(jobs) > 1)} each" if jobs > 1 else ""
    lines.append(f"{done} of {len(found.jobs)} runs are done; those left train for about {hours} here{sharing}{more}")
    return "\n".join(lines)


def _hours(seconds: dict[str, float], jobs: int) -> float:
    """Return the hours of runs side by side, as if none waited for another."""
    return sum(seconds.values()) / 3600 / min(jobs, max(1, len(seconds)))


def cores(jobs: int) -> int:
    """Return how many cores so many runs side by side take together.

    Raises:
        ValueError: ``jobs`` is not at least 1.
    """
    jobs = checks.integer("jobs", jobs)
    return jobs * _threads(jobs)


def _threads(jobs: int) -> int:
    """Return how many threads each of so many runs takes: what the user set, else its share of what torch would take.

    torch takes the cores that this process is allowed.
    """
    threads = torch.get_num_threads()
    return threads if os.environ.get("OMP_NUM_THREADS") else max(1, threads // jobs)


def _epochs(job: Job) -> int:
    return _network(job.experiment).at(job.profile).recipe.epochs


def run(found: Plan, seconds: dict[str, float], jobs: int = 1) -> list[str]:
    """Run what is not done, in the plan's order, so many runs side by side; the cores are shared between them.

    A run that fails stops those that start from it; the others go on. On Ctrl-C all write their checkpoints. With
    ``OMP_NUM_THREADS`` set, each run takes as many threads as that says.

    Args:
        found: see `plan`.
        seconds: see `seconds_here`; for the progress bar.
        jobs: runs side by side.

    Returns:
        The ids of runs that failed, or that could not start for another's failure.

    Raises:
        ValueError: ``jobs`` is not at least 1.
        KeyboardInterrupt: after Ctrl-C, once all checkpoints are written.
    """
    jobs = checks.integer("jobs", jobs)
    make_absolute()
    todo = {job.run_id: job for job in found.open}
    order = TopologicalSorter({i: {job.start or ""} & todo.keys() for i, job in todo.items()})
    order.prepare()
    ready: list[str] = []
    failed: list[str] = []
    done = 0
    running: dict[Future, str] = {}
    with _Children(_threads(jobs)) as children, ThreadPoolExecutor(jobs) as pool, _Bar(todo, seconds, jobs) as bar:
        while order.is_active() and not (children.stopped and not running):
            ready = sorted([*ready, *order.get_ready()], key=list(todo).index)
            while ready and len(running) < jobs and not children.stopped:
                name = ready.pop(0)
                if todo[name].start in failed:  # it cannot begin, nor can what starts from it
                    failed.append(name)
                    order.done(name)
                    ready += order.get_ready()
                else:
                    bar.say(f"{name} begins; what it says goes to {todo[name].folder / LOG}")
                    running[pool.submit(children.run, todo[name])] = name
            for future in wait(running, timeout=2, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                why = future.result()
                if why and not children.stopped:
                    failed.append(name)
                    bar.say(f"{name} failed: {why}")
                done += not why
                order.done(name)
            bar.show(list(running.values()), done)
    if children.stopped:
        raise KeyboardInterrupt
    return failed


def _last_line(log: Path, begin: int) -> str:
    """Return the last that a run said, which is its error: that of a second process on the run names the first.

    The log is read from byte ``begin`` on: what stands before is of an earlier start.
    """
    lines = log.read_bytes()[begin:].decode("utf-8", errors="replace").split("\n")
    return next((line.strip().removesuffix(".") + "." for line in reversed(lines) if line.strip()), "it said nothing.")


class _Children:
    """The processes that train; each signal that asks to stop is handed on to them.

    A signal that is ignored, as SIGHUP is under ``nohup``, stays ignored, by them too.
    """

    def __init__(self, threads: int) -> None:
        self.processes: set[subprocess.Popen] = set()
        self.threads = threads
        self.stopped: int | None = None  # by this signal

    def __enter__(self) -> "_Children":
        self.before = handle_stops(self.stop)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def stop(self, number: int, frame: Any) -> None:
        first, self.stopped = not self.stopped, number
        for process in tuple(self.processes):  # threads take from the set meanwhile
            _hand_on(number, process)
        if first:
            tell_stop("stopping: every run that has begun to train writes its checkpoint")

    def run(self, job: Job) -> str:
        """Train in a process of its own, away from the terminal's Ctrl-C; its output goes to a log in its folder.

        Returns:
            Why it failed, in a sentence or two; "" where it did not.
        """
        path = job.folder / LOG
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as log:
                begin = log.tell()
                status = self._train(job, log)
            if not status:
                return ""
            how = f"ended by signal {-status}; " if status < 0 else ""
            return f"{how}{_last_line(path, begin)} See {path}"
        except OSError as error:
            return f"{type(error).__name__}: {error}"

    def _train(self, job: Job, log: BinaryIO) -> int:
        process = subprocess.Popen(
            [sys.executable, *_arguments(job)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(self.threads)},
            start_new_session=True,
        )
        self.processes.add(process)
        try:
            if self.stopped:
                _hand_on(self.stopped, process)
            return process.wait()
        finally:
            self.processes.discard(process)


def _hand_on(number: int, process: subprocess.Popen) -> None:
    if os.name != "nt":  # Windows hands the console's Ctrl-C to the children itself
        process.send_signal(number)


class _Bar:
    """One bar over the estimated hours of all runs; behind it, where each that runs is, and what it still takes."""

    def __init__(self, todo: dict[str, Job], seconds: dict[str, float], jobs: int) -> None:
        self.todo, self.seconds, self.jobs, self.begun = todo, seconds, jobs, time.time()
        self.first = {i: _epochs_done(job) for i, job in todo.items()}
        shown = "{desc} {percentage:3.0f}% |{bar}| {n:.2f} of {total:.2f} hours, {remaining} left{postfix}"
        self.bar = tqdm(total=_hours(seconds, jobs), bar_format=shown, disable=None)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def show(self, running: list[str], done: int) -> None:
        left = {i: self._share_left(i) * self.seconds[i] for i in self.todo}
        self.bar.n = max(0.0, self.bar.total - _hours(left, self.jobs))
        self.bar.set_description(f"{done} of {len(self.todo)} runs done", refresh=False)
        self.bar.set_postfix_str("; ".join(f"{i} {self._epoch(i)}, {left[i] / 60:.0f} min" for i in running))

    def _epoch(self, name: str) -> str:
        job = self.todo[name]
        return f"epoch {min(_epochs_done(job, self.begun) + 1, _epochs(job))} of {_epochs(job)}"

    def _share_left(self, name: str) -> float:
        epochs, first = _epochs(self.todo[name]), self.first[name]
        return 1 - (_epochs_done(self.todo[name], self.begun) - first) / max(1, epochs - first)


def _epochs_done(job: Job, since: float = math.inf) -> int:
    """Count the epochs of a training that is to go on, or that has begun since a time; not those of an earlier one."""
    path, unfinished = job.folder / "metrics.csv", (job.folder / "checkpoint.pt").is_file()
    if not path.is_file() or not (unfinished or path.stat().st_mtime >= since):
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        return max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
