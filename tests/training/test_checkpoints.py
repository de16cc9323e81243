"""A checkpoint is whole or it is the one before; one that is not of this run is refused by name."""

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from atif_lib.training.checkpoints import STOP_SIGNALS, Checkpoint, Progress, save_weights, stop_requests


def checkpoint(folder, seed=0, width=64, **config):
    torch.manual_seed(seed)
    network = nn.Linear(width, width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, width)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return Checkpoint(folder, {"lr": 0.1} | config, network, optimizer, scheduler)


def progress():
    history = [{"epoch": 1, "train_loss": 2.0, "theta_layers": {"blocks.0": 0.1}}]
    return Progress(history, [torch.tensor(1.5)], seconds=3.0)


@contextmanager
def full_disk():
    """No file may grow past 8 KiB: a write fails half way, as on a full disk. pytest's own output may be a file too."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_it_comes_back_as_it_was_saved(tmp_path):
    saved = checkpoint(tmp_path / "new")
    saved.save(progress())
    found = checkpoint(tmp_path / "new", seed=1)
    restored = found.load()
    assert restored.history == progress().history
    assert torch.equal(torch.stack(restored.losses), torch.tensor([1.5]))
    assert 3 <= restored.seconds < 60
    assert torch.equal(found.parts["network"].weight, saved.parts["network"].weight)
    momenta = [next(iter(c.parts["optimizer"].state.values()))["momentum_buffer"] for c in (saved, found)]
    assert torch.equal(*momenta)
    assert sorted(os.listdir(tmp_path / "new")) == ["checkpoint.pt", "metrics.csv"]
    assert (tmp_path / "new" / "metrics.csv").read_text() == "epoch,train_loss\n1,2.0\n"


def test_without_a_folder_or_a_file_there_is_nothing(tmp_path):
    checkpoint(None).save(progress())
    assert checkpoint(None).load().history == checkpoint(tmp_path).load().history == []
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    small = checkpoint(tmp_path, width=4)
    small.save(progress())
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with (
        full_disk(),
        pytest.raises(
            OSError, match=r"cannot write .*checkpoint\.pt \(the one before is kept; [\d.]+ MiB free on its disk\): ."
        ),
    ):
        checkpoint(tmp_path, width=64).save(progress())
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "metrics.csv"]
    assert checkpoint(tmp_path, seed=1, width=4).load().history == progress().history


def test_a_full_disk_at_the_first_checkpoint(tmp_path):
    with (
        full_disk(),
        pytest.raises(
            OSError, match=r"cannot write .*checkpoint\.pt \(there is none yet; [\d.]+ MiB free on its disk\): ."
        ),
    ):
        checkpoint(tmp_path).save(progress())
    assert os.listdir(tmp_path) == []


def test_weights_on_a_full_disk(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(nn.Linear(4, 4), path)
    before = path.read_bytes()
    with (
        full_disk(),
        pytest.raises(
            OSError,
            match=r"cannot write .*weights\.safetensors \(the one before is kept; [\d.]+ MiB free on its disk\): .",
        ),
    ):
        save_weights(nn.Linear(64, 64), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_weights_come_back_whatever_their_memory_format(tmp_path):
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_weights(network, tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())


def test_weights_too_large_for_a_dtype_are_not_written(tmp_path):
    network = nn.BatchNorm2d(2)
    network.running_var.fill_(1e6)
    with pytest.raises(ValueError, match=r"dtype=torch.float16; allowed: .* in running_var"):
        save_weights(network, tmp_path / "weights.safetensors", torch.float16)
    assert os.listdir(tmp_path) == []


def test_files_are_synced_through_the_handle_that_wrote_them(tmp_path, monkeypatch):
    """Windows refuses to sync a file that was opened for reading."""
    fcntl, sync, synced = pytest.importorskip("fcntl"), os.fsync, []

    def as_on_windows(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", as_on_windows)
    checkpoint(tmp_path).save(progress())
    save_weights(nn.Linear(4, 4), tmp_path / "weights.safetensors")
    assert len(synced) == len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated", "foreign", "another network"])
def test_what_is_no_checkpoint_of_this_run_is_refused_by_name(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if content == "another network":
        checkpoint(tmp_path, width=8).save(progress())
    elif content == "foreign":
        torch.save({"epoch": 3}, path)
    elif content == "truncated":
        checkpoint(tmp_path).save(progress())
        path.write_bytes(path.read_bytes()[:-500])
    else:
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"checkpoint\.pt is not a checkpoint of this run \(.*delete it to start anew"
    ) as e:
        checkpoint(tmp_path).load()
    assert "\n" not in str(e.value)
    assert "weights_only" not in str(e.value), "torch's advice to load what it should not"


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "I/O"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory"),
    ],
)
def test_nobody_is_told_to_delete_a_checkpoint_that_could_not_be_read_now(tmp_path, monkeypatch, error):
    checkpoint(tmp_path).save(progress())

    def fail(*_, **__):
        raise error

    owner, name = (Path, "read_bytes") if isinstance(error, OSError) else (torch, "load")
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(type(error)) as told:
        checkpoint(tmp_path).load()
    assert "delete" not in str(told.value)


@pytest.mark.parametrize("content", [b"", {"epoch": 3}, [1]])
def test_the_reason_is_never_empty(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"not a checkpoint of this run \([^()]*\w\w[^()]*\)") as e:
        checkpoint(tmp_path).load()
    if isinstance(content, dict):
        assert "(no 'config' in it)" in str(e.value)


def test_another_configuration_is_named(tmp_path):
    checkpoint(tmp_path, lr=0.2, mix="mixup").save(progress())
    with pytest.raises(ValueError, match=r"it was made with lr=0\.2, not 0\.1, mix='mixup', not None\); delete"):
        checkpoint(tmp_path).load()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_asks_and_the_second_stops(number, capsys):
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop.is_set()
        assert signal.getsignal(number) is not before
        signal.raise_signal(number)
        assert stop.is_set()
        assert "stopping after this update" in capsys.readouterr().err
        assert signal.getsignal(number) is before, "the second signal does what it did before"
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform == "win32", reason="terminals and their end are POSIX's")
def test_a_terminal_that_was_closed_stops_the_training_too(monkeypatch):
    ours, theirs = os.openpty()
    terminal = os.fdopen(theirs, "w", buffering=1)
    try:
        with stop_requests() as stop:
            monkeypatch.setattr(sys, "stderr", terminal)
            os.close(ours)
            signal.raise_signal(signal.SIGHUP)
            assert stop.is_set()
    finally:
        monkeypatch.undo()
        with suppress(OSError):  # what could not be written fails once more
            terminal.close()


def test_outside_the_main_thread_there_are_no_signals_to_ask():
    found = []

    def work():
        with stop_requests() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number):
    """As SIGHUP is for a training that nohup started."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            signal.raise_signal(number)
            assert not stop.is_set()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
