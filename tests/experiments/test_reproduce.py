"""One command a table: what is missing is found, runs in order, stops with nothing lost, and goes on."""

import ast
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import training_worker as worker
import yaml
from filelock import FileLock

from atif_lib import data
from atif_lib.__main__ import main
from atif_lib.data.storage import file_sha256
from atif_lib.experiments import reproduce, runs
from atif_lib.experiments.registry import EXPERIMENTS
from atif_lib.results import manifest, records
from atif_lib.training.checkpoints import STOP_SIGNALS

CELLS = ["cifar10-small-relu-staged", "cifar10-small-if-staged", "cifar10-small-atif-u-staged"]
ORDER = [
    "cifar10-small-relu-staged",
    "cifar10-small-quantized-fixed-staged",
    "cifar10-small-if-staged",
    "cifar10-small-quantized-staged",
    "cifar10-small-atif-u-staged",
]


@pytest.fixture
def small_table(tmp_path):
    """A manifest whose Table 3 is of the small networks."""
    cells = [
        {
            "id": f"cell-{n}",
            "kind": "table",
            "where": "Table 3",
            "text": f"{name}: test accuracy.",
            "row": name,
            "column": "test accuracy",
            "chapter": "09_ablation",
            "paper": 90,
            "unit": "%",
            "ours": {"experiment": name, "metric": "test_accuracy", "profile": "laptop"},
            "verdict": "not run",
            "note": "",
        }
        for n, name in enumerate(CELLS)
    ]
    path = tmp_path / "manifest.yml"
    path.write_text(yaml.safe_dump({"command": "train", "entries": cells}), encoding="utf-8")
    return manifest.load(path)


@pytest.fixture
def folders(digits, results, tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_RUNS", str(tmp_path / "runs"))
    results.mkdir()
    return results, tmp_path / "runs"


def smoke_plan(table, seeds=(0,)):
    return reproduce.plan([3], seeds, profile="smoke", manifest=table)


def no_time(found):
    return {job.run_id: 1.0 for job in found.open}


def test_a_plan_may_name_a_folder_that_its_first_run_will_make(folders, small_table, monkeypatch, tmp_path):
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path / "new"))
    assert {job.state for job in smoke_plan(small_table).jobs} == {"missing"}
    assert not (tmp_path / "new").exists()


def test_a_plan_has_every_stage_once_and_behind_what_it_starts_from(folders, small_table):
    found = smoke_plan(small_table, seeds=[0, 1, 0])
    assert [job.experiment for job in found.jobs] == ORDER * 2
    assert [job.seed for job in found.jobs] == [0] * 5 + [1] * 5
    assert {job.state for job in found.jobs} == {"missing"}
    assert [job.start for job in found.jobs[:3]] == [None, *(f"{n}-smoke-s0" for n in ORDER[:2])]


@pytest.mark.parametrize("table", [1, 2, 3])
@pytest.mark.parametrize("protocol", reproduce.PROTOCOLS)
def test_every_table_of_the_paper_has_its_experiments(folders, table, protocol):
    found = reproduce.plan([table], protocol=protocol)
    assert len(found.jobs) >= {1: 12, 2: 3, 3: 3}[table]
    assert all(job.experiment in EXPERIMENTS and job.profile == "full" for job in found.jobs)
    assert all(job.experiment.endswith(reproduce.PROTOCOLS[protocol]) for job in found.jobs)


@pytest.fixture(scope="module")
def reproduced(digits, tmp_path_factory):
    """All five runs at the smoke profile, two side by side: the records' folder."""
    folder = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_RESULTS", str(folder / "results"))
        patch.setenv("ATIF_RUNS", str(folder / "runs"))
        patch.setenv("PYTHONPATH", str(Path(runs.__file__).parents[2]))
        (folder / "results").mkdir()
        jobs = tuple(
            reproduce.Job(n, "smoke", 0, "missing", EXPERIMENTS[n].start and f"{EXPERIMENTS[n].start}-smoke-s0")
            for n in ORDER
        )
        found = reproduce.Plan((3,), jobs)
        assert reproduce.run(found, no_time(found), jobs=2) == []
        yield folder


@pytest.fixture
def done(reproduced, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(reproduced / "results"))
    monkeypatch.setenv("ATIF_RUNS", str(reproduced / "runs"))
    return reproduced


def test_all_stages_run_and_each_starts_from_the_weights_before(done, small_table):
    found = {r.experiment: r for r in records.load_all()}
    assert set(found) == set(ORDER)
    for name in ORDER:
        start = EXPERIMENTS[name].start
        if start:
            assert found[name].result["start_sha256"] == found[start].result["weights_sha256"]
            assert [e["epoch"] for e in found[name].epochs] == [0, 1], "tested before the first update"
    assert [job.state for job in smoke_plan(small_table).jobs] == ["done"] * 5
    assert reproduce.run(smoke_plan(small_table), {}) == []


@pytest.fixture
def copied(done, tmp_path, monkeypatch):
    """The five runs and their records in folders that a test may change."""
    for name, variable in (("results", "ATIF_RESULTS"), ("runs", "ATIF_RUNS")):
        shutil.copytree(done / name, tmp_path / "copied" / name)
        monkeypatch.setenv(variable, str(tmp_path / "copied" / name))
    return tmp_path / "copied"


def test_a_first_stage_trained_anew_makes_the_later_ones_stale(copied, small_table):
    weights = copied / "runs" / "cifar10-small-relu-staged-smoke-s0" / runs.WEIGHTS
    weights.write_bytes(b"others")
    path = copied / "results" / "cifar10-small-relu-staged-smoke-s0.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["result"]["weights_sha256"] = file_sha256(weights)
    path.write_text(json.dumps(values), encoding="utf-8")
    jobs = smoke_plan(small_table).jobs
    assert [job.state for job in jobs] == ["done"] + ["stale"] * 4
    assert "cifar10-small-relu-staged-smoke-s0 was trained anew" in jobs[1].why
    assert "which it starts from, is stale" in jobs[2].why
    shown = reproduce.describe(reproduce.Plan((3,), jobs), dict.fromkeys([j.run_id for j in jobs[1:]], 3600.0), 2)
    assert "1 of 5 runs are done; those left train for about 2.0 hours here" in shown


def test_a_changed_recipe_makes_a_run_stale(done, small_table, monkeypatch):
    changed = EXPERIMENTS["cifar10-small-quantized-staged"]
    monkeypatch.setitem(
        EXPERIMENTS, changed_name := "cifar10-small-quantized-staged", replace(changed, data_start=True)
    )
    states = {job.experiment: (job.state, job.why) for job in smoke_plan(small_table).jobs}
    assert states[changed_name] == ("stale", "its configuration has changed: data_start")
    assert states["cifar10-small-if-staged"][0] == "done"


def test_a_stage_without_its_weights_is_trained_again_where_a_later_one_needs_it(
    done, small_table, monkeypatch, tmp_path
):
    monkeypatch.setenv("ATIF_RUNS", str(tmp_path / "elsewhere"))
    assert {job.state for job in smoke_plan(small_table).jobs} == {"done"}
    (done / "results" / "cifar10-small-if-staged-smoke-s0.json").rename(tmp_path / "kept.json")
    try:
        states = {job.experiment: (job.state, job.why) for job in smoke_plan(small_table).jobs}
    finally:
        (tmp_path / "kept.json").rename(done / "results" / "cifar10-small-if-staged-smoke-s0.json")
    assert states["cifar10-small-if-staged"][0] == "missing"
    assert states["cifar10-small-quantized-fixed-staged"] == ("missing", "its weights are not here")
    assert states["cifar10-small-relu-staged"] == ("missing", "its weights are not here")
    for name in ORDER[3:]:  # the second in turn, because the first may turn stale
        assert states[name][0] == "done"
        assert "unless cifar10-small-relu-staged-smoke-s0 comes out with the same" in states[name][1]


def test_a_stage_whose_weights_are_of_another_training_is_trained_again_where_a_later_one_needs_it(copied, small_table):
    """Else what starts from it would be stale at once, and be trained again and again."""
    (copied / "runs" / f"{ORDER[1]}-smoke-s0" / runs.WEIGHTS).write_bytes(b"of another training")
    assert {job.state for job in smoke_plan(small_table).jobs} == {"done"}
    (copied / "results" / f"{ORDER[2]}-smoke-s0.json").unlink()
    states = {job.experiment: (job.state, job.why) for job in smoke_plan(small_table).jobs}
    assert states[ORDER[0]] == ("done", "")
    assert states[ORDER[1]] == ("missing", "its weights are not those of its record")
    assert states[ORDER[2]][0] == "missing"
    assert [states[name][0] for name in ORDER[3:]] == ["done", "done"]


LONG = """
import dataclasses, sys, time
from atif_lib.__main__ import main
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.training import loop

at, loss, pause = NetworkExperiment.at, loop.mixed_loss, float(sys.argv[1])

def longer(experiment, profile):
    found = at(experiment, profile)
    return dataclasses.replace(found, limit=64, recipe=dataclasses.replace(found.recipe, epochs=4, batch_size=8))

def slower(*arguments):
    time.sleep(pause)
    return loss(*arguments)

NetworkExperiment.at, loop.mixed_loss = longer, slower
sys.exit(main(sys.argv[2:]))
"""
"""The command line at a smoke profile of four epochs of eight updates, each of which takes so many seconds longer."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_run_stops_when_it_is_told_and_goes_on(folders):
    results, left = folders
    environment = os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    train = ["train", ORDER[0], "--profile", "smoke", "--resume"]
    slow, quick = ([sys.executable, "-c", LONG, pause, *train] for pause in ("0.3", "0"))
    first = subprocess.Popen(slow, env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint = left / f"{ORDER[0]}-smoke-s0" / "checkpoint.pt"
    deadline = time.monotonic() + worker.PATIENCE
    written = checkpoint.with_name("metrics.csv")  # after the checkpoint of the first epoch
    while not written.is_file() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # into the second epoch, which takes more than two seconds
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=worker.PATIENCE)
    assert first.returncode == 130, said
    assert said.splitlines()[-1] == "atif_lib: interrupted; --resume goes on from here"
    assert checkpoint.is_file()
    assert not list(results.iterdir())
    again = subprocess.run(quick, env=environment, capture_output=True, text=True, timeout=worker.PATIENCE)
    assert again.returncode == 0, again.stderr
    assert "no checkpoint" not in again.stderr
    assert [p.name for p in results.iterdir()] == [f"{ORDER[0]}-smoke-s0.json"]
    assert not checkpoint.exists()


@pytest.fixture
def scripts(monkeypatch):
    """A dictionary of what runs do in place of training, by their experiment; the others do nothing."""
    found = {}
    monkeypatch.setattr(reproduce, "_arguments", lambda job: ["-c", found.get(job.experiment, "")])
    return found


def test_a_run_that_fails_stops_those_that_start_from_it_and_no_others(
    folders, small_table, scripts, monkeypatch, capsys
):
    def note(children, job):
        begun.append(job.experiment)
        return train(children, job)

    begun, train = [], reproduce._Children.run
    scripts[ORDER[1]] = r"import sys; sys.exit('epoch 1\nanother process trains here\n\n')"
    monkeypatch.setattr(reproduce._Children, "run", note)
    found = smoke_plan(small_table)
    failed = reproduce.run(found, no_time(found))
    assert failed == ["cifar10-small-quantized-fixed-staged-smoke-s0", "cifar10-small-if-staged-smoke-s0"]
    assert begun == [ORDER[0], ORDER[1], ORDER[3], ORDER[4]]
    said = capsys.readouterr()
    assert "quantized-fixed-staged-smoke-s0 failed: another process trains here. See " in said.out + said.err


def test_a_run_that_cannot_be_started_fails_and_the_others_go_on(folders, small_table, scripts, capsys):
    _, left = folders
    left.mkdir()
    (left / f"{ORDER[1]}-smoke-s0").write_text("a file where its folder should be", encoding="utf-8")
    found = smoke_plan(small_table)
    assert reproduce.run(found, no_time(found)) == [f"{ORDER[1]}-smoke-s0", f"{ORDER[2]}-smoke-s0"]
    assert (left / f"{ORDER[4]}-smoke-s0" / reproduce.LOG).is_file()
    said = capsys.readouterr()
    assert f"{ORDER[1]}-smoke-s0 failed: FileExistsError: " in said.out + said.err


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('epoch 3', flush=True); import os; os.kill(os.getpid(), 9)", "ended by signal 9; epoch 3."),
        ("import os; os.kill(os.getpid(), 15)", "ended by signal 15; it said nothing."),
        ("raise SystemExit(3)", "it said nothing."),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_run_s_failure_is_explained_by_what_it_said_itself(folders, scripts, script, why):
    job = reproduce.Job(CELLS[0], "smoke", 0, "interrupted", None)
    job.folder.mkdir(parents=True)
    log = job.folder / reproduce.LOG
    log.write_text("the error of an earlier start\n", encoding="utf-8")
    scripts[CELLS[0]] = script
    assert reproduce._Children(1).run(job) == f"{why} See {log}"
    assert log.read_text(encoding="utf-8").startswith("the error of an earlier start\n")


def test_a_run_that_another_process_trains_is_said_to_run(folders, small_table):
    job = smoke_plan(small_table).open[0]
    job.folder.mkdir(parents=True)
    (job.folder / "checkpoint.pt").touch()
    with FileLock(job.folder / "lock"):
        assert f"running     {job.run_id} (in another process)" in reproduce.describe(smoke_plan(small_table))
    assert f"interrupted {job.run_id}" in reproduce.describe(smoke_plan(small_table))


def test_the_bar_counts_what_succeeded(folders, small_table, monkeypatch):
    shown = []
    monkeypatch.setattr(reproduce._Bar, "show", lambda bar, running, done: shown.append(done))
    monkeypatch.setattr(reproduce._Children, "run", lambda children, job: "no" * (job.experiment == ORDER[1]))
    found = smoke_plan(small_table)
    assert len(reproduce.run(found, no_time(found))) == 2
    assert shown[-1] == 3


def test_plan_and_bar_agree_on_the_hours(folders, small_table):
    jobs = smoke_plan(small_table).jobs[:1]
    seconds = {jobs[0].run_id: 7200.0}
    assert "train for about 2.0 hours" in reproduce.describe(reproduce.Plan((3,), jobs), seconds, 4)
    with reproduce._Bar({jobs[0].run_id: jobs[0]}, seconds, 4) as bar:
        assert bar.bar.total == 2.0
        bar.show([], 0)
        assert bar.bar.n == 0.0


@pytest.fixture
def eight_threads(monkeypatch):
    """A machine on which torch takes eight threads, and a user who set none."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)


def test_the_threads_that_torch_takes_are_shared_and_those_of_the_user_kept(
    folders, small_table, scripts, eight_threads, monkeypatch
):
    job = reproduce.Job(CELLS[0], "smoke", 0, "missing", None)
    scripts[CELLS[0]] = "import os; print(os.environ['OMP_NUM_THREADS'])"
    for variable, threads, said in ((None, [8, 4, 1], "4"), ("8", [8, 8, 8], "8"), ("", [8, 4, 1], "4")):
        if variable is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        assert [reproduce._threads(jobs) for jobs in (1, 2, 16)] == threads
        assert reproduce._Children(4).run(job) == ""
        assert (job.folder / reproduce.LOG).read_text(encoding="utf-8").split()[-1] == said
    monkeypatch.delenv("OMP_NUM_THREADS")
    text = reproduce.snakefile(smoke_plan(small_table), jobs=2)
    assert text.count("    threads: 4\n") == 5
    assert "`snakemake --cores 8 --snakefile FILE`" in text


def test_as_many_side_by_side_as_asked_and_their_share_of_the_cores(folders, small_table, eight_threads, monkeypatch):
    at_once, most, both = [], [], threading.Barrier(2)

    def train(children, job):
        at_once.append(job)
        most.append(len(at_once))
        if job.experiment in (ORDER[1], ORDER[3]):  # these two can start once the first has ended
            both.wait(timeout=worker.PATIENCE)
        at_once.remove(job)
        assert children.threads == 4
        return ""

    monkeypatch.setattr(reproduce._Children, "run", train)
    found = smoke_plan(small_table)
    reproduce.run(found, no_time(found), jobs=2)
    assert max(most) == 2


def test_a_second_process_on_the_same_run_is_refused(folders):
    with (
        runs._alone(runs.run_folder(CELLS[0], "smoke", 0)),
        pytest.raises(RuntimeError, match="another process trains"),
    ):
        runs.run(CELLS[0], "smoke")


def test_an_interrupted_run_is_not_destroyed(folders):
    folder = runs.run_folder(CELLS[0], "smoke", 0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"ten hours")
    with pytest.raises(FileExistsError, match="--resume goes on from it; to start anew, delete the folder"):
        runs.run(CELLS[0], "smoke")
    assert (folder / "checkpoint.pt").read_bytes() == b"ten hours"


def test_the_workflow_has_a_rule_a_run_and_asks_for_what_each_starts_from(folders, small_table):
    text = reproduce.snakefile(smoke_plan(small_table))
    assert text.count("\nrule ") == 6
    rule = text.partition("rule cifar10_small_if_staged_smoke_s0:")[2].partition("\nrule")[0]
    assert 'input: f"{DONE}/cifar10-small-quantized-fixed-staged-smoke-s0"' in rule
    assert "train cifar10-small-if-staged --profile smoke --seeds 0 --resume" in rule


def test_the_workflow_finds_a_python_whose_path_has_a_blank(folders, small_table, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my programs/it's/python")
    lines = reproduce.snakefile(smoke_plan(small_table)).splitlines()
    python = next(line for line in lines if line.startswith("PYTHON = ")).removeprefix("PYTHON = ")
    shell = next(line for line in lines if "shell: " in line).partition("shell: ")[2]
    command = json.loads(shell).format(threads=1, PYTHON=ast.literal_eval(python))
    assert shlex.split(command)[:4] == ["OMP_NUM_THREADS=1", sys.executable, "-m", "atif_lib"]


def test_snakemake_runs_the_workflow(folders, small_table, tmp_path, monkeypatch):
    pytest.importorskip("snakemake")
    results, _ = folders
    monkeypatch.setenv("PYTHONPATH", str(Path(runs.__file__).parents[2]))
    (tmp_path / "Snakefile").write_text(reproduce.snakefile(smoke_plan(small_table)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--jobs", "2", "--snakefile", "Snakefile"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert sorted(p.stem for p in results.glob("*.json")) == sorted(f"{n}-smoke-s0" for n in ORDER)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reproduce.plan([4]), "table=4; allowed: 1, 2 or 3"),
        (lambda: reproduce.plan([3], protocol="slow"), "protocol='slow'; allowed: 'staged', 'fast', 'paper'"),
        (lambda: reproduce.plan([3], seeds=[]), "seeds=\\[\\]; allowed: one or more"),
        (lambda: reproduce.plan([3], seeds=[0, -1]), "seed=-1; allowed: an integer, 0 or more"),
        (lambda: reproduce.plan([3], seeds=[2**63]), f"seed={2**63}; allowed: an integer, {2**63 - 1} or less"),
        (lambda: reproduce.plan([3], profile="laptop"), r"profile of \S+='laptop'; allowed: 'smoke', 'full'"),
        (lambda: reproduce.snakefile(reproduce.Plan((3,), ()), jobs=0), "jobs=0; allowed: an integer, 1 or more"),
        (lambda: reproduce.run(reproduce.Plan((3,), ()), {}, jobs=0), "jobs=0; allowed: an integer, 1 or more"),
    ],
)
def test_bad_input_is_refused(folders, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_dry_run_says_what_is_there_where_the_data_is_not(folders, capsys):
    assert main(["reproduce", "table", "3", "--dry-run"]) == 2
    output, errors = capsys.readouterr()
    *lines, last = output.splitlines()
    assert len(lines) == 6
    assert all(line.split()[1] == "missing" and "hours" not in line for line in lines)
    assert last == "0 of 6 runs are done"
    assert "cifar10.bin is not there; to fetch it, run: python -m atif_lib data cifar10" in errors


def test_the_command_says_what_is_asked_of_it(folders, capsys):
    assert main(["reproduce", "all", "3"]) == 2
    assert main(["reproduce", "table"]) == 2
    assert "reproduce takes `table` with numbers, or `all` without" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--profile laptop", "='laptop'; allowed: 'smoke', 'full'"),
        ("--seeds -1", "seed=-1; allowed: an integer, 0 or more"),
        ("--dry-run", "reproduce takes --dry-run or --snakefile, got both"),
    ],
)
def test_no_workflow_is_written_that_could_not_run_or_was_not_to_be_written(
    folders, options, message, tmp_path, capsys
):
    assert main(["reproduce", "table", "3", "--snakefile", str(tmp_path / "S"), *options.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "S").exists()


def test_the_command_says_how_to_run_the_workflow(folders, eight_threads, tmp_path, capsys):
    assert main(["reproduce", "table", "3", "--snakefile", str(tmp_path / "S"), "--jobs", "2"]) == 0
    assert "6 rules; run it with snakemake --cores 8 --snakefile" in capsys.readouterr().out
    assert "    threads: 4\n" in (tmp_path / "S").read_text(encoding="utf-8")


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_fewer_runs_side_by_side_than_one_are_refused(folders, jobs, capsys):
    assert main(["reproduce", "table", "3", "--jobs", jobs]) == 2
    assert f"jobs={jobs}; allowed: an integer, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("unfinished", [True, False])
def test_epochs_count_that_a_run_goes_on_from_and_not_those_of_an_earlier_training(folders, monkeypatch, unfinished):
    job = reproduce.Job(CELLS[0], "laptop", 0, "stale", None)
    job.folder.mkdir(parents=True)
    epochs = EXPERIMENTS[CELLS[0]].recipe.epochs
    rows = "".join(f"{n}\n" for n in range(1, epochs + (0 if unfinished else 1)))
    (job.folder / "metrics.csv").write_text(f"epoch\n{rows}", encoding="utf-8")
    if unfinished:
        (job.folder / "checkpoint.pt").touch()
    cost = runs.CostHere(1.0, 1.0, 100, 2, None, None, None)
    monkeypatch.setattr(reproduce, "_need_data", list)
    monkeypatch.setattr(reproduce, "cost_here", lambda *key, count: cost)
    found = reproduce.seconds_here(reproduce.Plan((3,), (job,)))
    assert found == {job.run_id: pytest.approx(100 / epochs if unfinished else 100)}


def test_all_data_that_lacks_is_named_at_once(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("ATIF_DATA", str(tmp_path / "empty"))
    names = ("cifar10-small-relu-staged", "gsc13-small-relu-staged")
    found = reproduce.Plan((3,), tuple(reproduce.Job(name, "laptop", 0, "missing", None) for name in names))
    with pytest.raises(data.DataUnavailable, match=r"data cifar10; gsc13: .*data gsc13"):
        reproduce.seconds_here(found)


@pytest.mark.parametrize("damaged", [False, True])
def test_what_was_measured_is_measured_again_only_where_that_is_asked_for(folders, monkeypatch, damaged):
    found = reproduce.Plan((3,), tuple(reproduce.Job(name, "laptop", 0, "missing", None) for name in CELLS[:2]))
    measured = []
    cost = runs.CostHere(1.0, 1.0, 100, 2, None, None, None)
    monkeypatch.setattr(reproduce, "_need_data", list)
    monkeypatch.setattr(reproduce, "cost_here", lambda name, profile, count: measured.append(name) or cost)
    first = reproduce.seconds_here(found._replace(jobs=found.jobs[:1]))
    if damaged:
        (folders[1] / reproduce.COSTS).write_text('{"half": ', encoding="utf-8")
    assert reproduce.seconds_here(found, anew=False) == first | {found.jobs[1].run_id: 100}
    assert measured == [CELLS[0], *(CELLS[:2] if damaged else CELLS[1:2])]
    measured.clear()
    reproduce.seconds_here(found)
    assert measured == list(CELLS[:2])
    measured.clear()
    reproduce.seconds_here(found, jobs=2, anew=False)
    assert measured == list(CELLS[:2]) if torch.get_num_threads() > 1 else not measured, "with other threads"


@pytest.mark.parametrize("state", ["stale", "missing"])
def test_a_record_that_is_there_keeps_no_rule_from_running(folders, small_table, state, tmp_path, monkeypatch):
    """Snakemake does nothing for an output that exists, and the record of a stale run does."""
    pytest.importorskip("snakemake")
    results, _ = folders
    job = reproduce.Job(CELLS[0], "smoke", 0, state, None)
    (results / f"{job.run_id}.json").touch()
    (tmp_path / "Snakefile").write_text(reproduce.snakefile(reproduce.Plan((3,), (job,))), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--snakefile", "Snakefile"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Nothing to be done" not in ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_children_that_end_while_they_are_stopped_do_no_harm(capsys):
    children = reproduce._Children(1)

    class Child:
        def send_signal(self, number):
            children.processes.discard(self)

    children.processes = {Child(), Child()}
    children.stop(signal.SIGINT, None)
    assert not children.processes
    assert children.stopped


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a terminal's end is POSIX's")
def test_what_nohup_ignores_stays_ignored():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with reproduce._Children(1) as children:
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == children.stop
            assert not children.stopped
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_children_that_ignore_ctrl_c_are_stopped_by_what_stops_the_command(folders, scripts):
    """A shell's `&` in a script has the command and its children ignore Ctrl-C."""
    job = reproduce.Job(CELLS[0], "smoke", 0, "missing", None)
    scripts[CELLS[0]] = "import time; time.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with reproduce._Children(1) as children:
            signal.raise_signal(signal.SIGTERM)
            assert children.run(job).startswith("ended by signal 15; ")
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_failed_is_named_where_no_record_has_a_threshold(folders, monkeypatch, capsys):
    with records.recording("toy-fixed", "smoke", 0, {}) as draft:
        draft.result["test_accuracy"] = 1.0
    monkeypatch.setattr(reproduce, "seconds_here", lambda found, jobs, anew: no_time(found))
    monkeypatch.setattr(reproduce, "run", lambda found, seconds, jobs: [found.jobs[0].run_id])
    assert main(["reproduce", "table", "3", "--protocol", "fast"]) == 1
    output, errors = capsys.readouterr()
    assert "cifar10-resnet18-if-full-s0 failed" in errors
    assert "test accuracy" in output
    assert "θ" not in output


def test_what_turns_stale_is_made_again_by_the_same_call(folders, monkeypatch, capsys):
    first, second = (reproduce.Job(name, "smoke", 0, "missing", None) for name in CELLS[:2])
    done = first._replace(state="done")
    plans = iter([(first, second._replace(state="done", why="stale then")), (done, second._replace(state="stale"))])
    monkeypatch.setattr(reproduce, "plan", lambda *_: reproduce.Plan((3,), next(plans, (done,))))
    monkeypatch.setattr(reproduce, "seconds_here", lambda found, jobs, anew: no_time(found))
    ran = []
    monkeypatch.setattr(reproduce, "run", lambda found, *_: ran.append([j.run_id for j in found.open]) or [])
    assert main(["reproduce", "table", "3", "--profile", "smoke"]) == 0
    assert ran == [[first.run_id], [second.run_id]]
    output, errors = capsys.readouterr()
    assert (
        "those left train for about 1 second here, and 1 that are done would be made again if they turn stale" in output
    )
    assert "runs are stale now, because what they start from came out with other weights" in errors


def test_what_is_no_run_in_stages_is_shown_as_it_came_out(folders, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "seconds_here", lambda found, jobs, anew: no_time(found))
    monkeypatch.setattr(reproduce, "run", lambda found, seconds, jobs: [])
    assert main(["reproduce", "table", "3", "--protocol", "fast"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown if "not run" in line] == [
        f"cifar10-resnet18-{a}" for a in ("if", "atif-u", "atif-nu")
    ]
