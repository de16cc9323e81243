"""Several machines train together under torchrun; every other start of several processes is refused at once."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_worker as worker
from torch import nn
from torch.testing import assert_close

from atif_lib import data
from atif_lib.__main__ import main
from atif_lib.experiments import runs
from atif_lib.results import records
from atif_lib.training.execution import processes, sync_norms
from atif_lib.training.loop import train

QUICK = "cifar10-small-relu"
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS")
needs_gloo = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="gloo is not built in")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As on both machines: another number of threads sums in another order."""
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folders(digits, results, tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_RUNS", str(tmp_path / "runs"))
    return results, tmp_path / "runs"


def environment(**variables):
    sources = os.pathsep.join([str(Path(worker.__file__).parents[1]), str(Path(worker.__file__).parent)])
    return os.environ | {"PYTHONPATH": sources, "OMP_NUM_THREADS": "1"} | variables


def two_machines(*commands):
    """Run a command on each of two machines, one process each: (output, status) of both."""
    for _ in range(3):  # somebody else may take the port before they do
        ended = on_two_machines(*commands)
        if not any(re.search("EADDRINUSE|[Aa]ddress already in use", output) for output, _ in ended):
            break
    return ended


def on_two_machines(*commands):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank, command in enumerate(commands):
        place = ["--nnodes", 2, "--node-rank", rank, "--master-addr", "127.0.0.1", "--master-port", port]
        place = [sys.executable, "-m", "torch.distributed.run", *place, "--nproc-per-node", 1, *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen([*map(str, place)], env=environment(), **pipes))
    try:
        return [(process.communicate(timeout=worker.PATIENCE)[0], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


@worker.several_processes
def test_two_machines_match_one_process_of_the_same_global_batch(tmp_path, digits, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    ended = two_machines(*[[worker.__file__, folder, "atif-u"]] * 2)
    assert [status for _, status in ended] == [0, 0], ended
    two = torch.load(folder / "final.pt")
    monkeypatch.setattr(data, "normalizer", worker.in_double(data.normalizer))
    one = worker.network(dtype=torch.float64)
    history = list(train(one, worker.examples(), worker.RECIPE))
    assert_close(two["state"], dict(one.state_dict()), atol=1e-7, rtol=1e-7)
    assert [m["train_loss"] for m in two["history"]] == pytest.approx([m["train_loss"] for m in history], abs=1e-6)


@worker.several_processes
def test_two_machines_leave_one_run_that_the_first_writes(folders):
    results, left = folders
    train_it = ["-m", "atif_lib", "train", QUICK, "--profile", "smoke"]
    ended = two_machines(train_it, train_it)
    assert [status for _, status in ended] == [0, 0], ended
    assert os.listdir(results) == [f"{QUICK}-smoke-s0.json"]
    found = records.load(results / f"{QUICK}-smoke-s0.json")
    assert found.epochs[0]["train_loss"] < 2.5
    assert "checkpoint.pt" not in os.listdir(left / f"{QUICK}-smoke-s0")
    assert ["test_accuracy" in output for output, _ in ended] == [True, False], "the first process tells the result"


@worker.several_processes
def test_machines_that_would_train_different_things_are_refused(folders):
    results, _ = folders
    train_it = ["-m", "atif_lib", "train", QUICK, "--profile", "smoke", "--seeds"]
    ended = two_machines([*train_it, 0], [*train_it, 1])
    assert all(status for _, status in ended), ended
    assert all("must train the same on every machine" in output for output, _ in ended), ended
    assert os.listdir(results) == []


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        (
            {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"},
            "SLURM_NTASKS=2",
        ),
        ({"WORLD_SIZE": "4", "RANK": "1"}, "WORLD_SIZE=4"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE=2"),
        ({"RANK": "1"}, "RANK=1"),
    ],
)
def test_several_processes_of_another_launcher_are_refused_before_anything_is_written(
    folders, monkeypatch, capsys, variables, shown
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["train", QUICK, "--profile", "smoke"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"atif_lib: {shown} without torchrun; allowed: one process, or several by torchrun")
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(RuntimeError, match=f"{shown} without torchrun"):
        next(train(worker.network(), worker.examples(), worker.RECIPE))


def under_torchrun(monkeypatch, here, everywhere, machines):
    names = {"TORCHELASTIC_RUN_ID": "x", "RANK": 0, "LOCAL_WORLD_SIZE": here}
    for name, value in (names | {"WORLD_SIZE": everywhere, "GROUP_WORLD_SIZE": machines}).items():
        monkeypatch.setenv(name, str(value))


def test_processes_of_torchrun_are_counted_by_machine(monkeypatch):
    assert processes() == (1, 1)
    monkeypatch.setenv("SLURM_NTASKS", "2")  # of which each has started torchrun
    under_torchrun(monkeypatch, 4, 8, 2)
    assert processes() == (4, 2)
    under_torchrun(monkeypatch, 1, 3, 2)
    with pytest.raises(RuntimeError, match="LOCAL_WORLD_SIZE=1 on one of 2 machines with 3 processes; allowed: equal"):
        processes()


@pytest.mark.parametrize("variables", [{"SLURM_NTASKS": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"SLURM_NTASKS": ""}])
def test_one_process_of_any_launcher_trains(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes() == (1, 1)


def test_what_trains_no_network_runs_in_one_process(folders, monkeypatch):
    under_torchrun(monkeypatch, 2, 2, 1)
    with pytest.raises(ValueError, match="toy-fixed in 2 processes; allowed: one, for it trains no network"):
        runs.run("toy-fixed", "smoke")


@needs_gloo
def test_a_norm_over_all_processes_takes_the_plain_average_too(tmp_path):
    """A momentum of None is what `estimate_norms` sets, and it was not known there."""
    ours, theirs = (nn.Sequential(nn.BatchNorm2d(3, momentum=None)) for _ in range(2))
    torch.distributed.init_process_group("gloo", init_method=f"{(tmp_path / 'group').as_uri()}", rank=0, world_size=1)
    try:
        sync_norms(ours)
        for _ in range(3):
            x = torch.randn(4, 3, 5, 5)
            assert_close(ours(x), theirs(x))
    finally:
        torch.distributed.destroy_process_group()
    assert_close(ours.state_dict(), theirs.state_dict())
