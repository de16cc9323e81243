"""A record comes back as it was written, or an error says which file and which field is wrong."""

import json
import os
import platform
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atif_lib import paths
from atif_lib.results import environment, records
from atif_lib.results.records import Record, RecordError
from ci.run_notebooks import commit_all


def make(**changes):
    values = {
        "experiment": "toy-fixed",
        "profile": "smoke",
        "seed": 0,
        "config": {"timesteps": 4},
        "commit": "0" * 40,
        "dirty": False,
        "date": "2023-03-03T12:00:00+00:00",
        "versions": {"python": "3.11.7", "torch": None},
        "device": "a processor, 2 threads",
        "data_sha256": None,
        "epochs": [{"sqnr_db": 0.1}],
        "result": {"sqnr_db": 0.45, "p": [1.0, 0.5], "theta": {"layer1": 0.1}},
        "wall_s": 1.5,
        "peak_memory_mib": 100.0,
    }
    return Record(**{**values, **changes})


def test_save_then_load_gives_the_same_record(tmp_path):
    path = records.save(make(), tmp_path)
    assert path == tmp_path / "toy-fixed-smoke-s0.json"
    assert records.load(path) == make()
    assert os.listdir(tmp_path) == [path.name]


def test_numpy_values_become_plain_numbers(tmp_path):
    path = records.save(make(result={"a": np.float32(0.5), "p": np.arange(3), "flag": np.bool_(True)}), tmp_path)
    assert records.load(path).result == {"a": 0.5, "p": [0, 1, 2], "flag": True}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_number_that_is_not_finite_is_refused_by_field_and_the_old_file_stays(tmp_path, bad):
    path = records.save(make(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"epochs\.1\.loss"):
        records.save(make(epochs=[{"loss": 1.0}, {"loss": bad}]), tmp_path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_disk_error_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = records.save(make(), tmp_path)

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        records.save(make(seed=0, result={"sqnr_db": 9.9}), tmp_path)
    assert records.load(path).result["sqnr_db"] == 0.45
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "Toy fixed"}, "experiment='Toy fixed'; allowed: lower case words"),
        ({"profile": "big"}, "profile='big'; allowed: 'smoke', 'laptop' or 'full'"),
        ({"seed": -1}, "seed=-1; allowed: 0 or more"),
        ({"seed": True}, "seed=True; allowed: an integer"),
        ({"config": [1]}, "config=[1]; allowed: a mapping"),
        ({"commit": "main"}, "commit='main'; allowed: 40 hex digits"),
        ({"commit": None}, "dirty=False; allowed: None exactly when commit is"),
        ({"date": "yesterday"}, "date='yesterday'; allowed: an ISO 8601 time in UTC"),
        ({"date": "2023-03-03T12:00:00"}, "UTC"),
        ({"date": "2023-03-03T12:00:00+02:00"}, "UTC"),
        ({"data_sha256": "abc"}, "data_sha256='abc'; allowed: 64 hex digits"),
        ({"epochs": [1.0]}, "epochs.0=1.0; allowed: a mapping"),
        ({"wall_s": -1.0}, "wall_s=-1.0"),
        ({"wall_s": float("nan")}, "wall_s=nan; allowed: a finite number"),
        ({"wall_s": "1.5"}, "wall_s='1.5'; allowed: a number"),
        ({"wall_s": np.arange(300)}, "wall_s=array([ 0, 1, 2"),
        ({"dirty": 1}, "dirty=1; allowed: true or false"),
        ({"peak_memory_mib": "much"}, "peak_memory_mib='much'"),
        ({"colour": "red"}, "unknown key colour; allowed: experiment, profile"),
    ],
)
def test_a_field_outside_what_is_allowed_is_named(change, message):
    with pytest.raises(RecordError) as caught:
        make(**change)
    assert message in str(caught.value)


def write(folder, name="toy-fixed-smoke-s0.json", text=None, drop=None, **changes):
    values = {**make().model_dump(), **changes}
    values.pop(drop, None)
    path = folder / name
    path.write_text(json.dumps(values) if text is None else text)
    return path


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"text": '{"experiment": '}, "not JSON"),
        ({"text": "[]"}, "expected one JSON object"),
        ({"drop": "seed"}, "missing seed"),
        ({"colour": "red"}, "unknown key colour"),
        ({"seed": "zero"}, "seed='zero'"),
        ({"result": {"sqnr_db": float("nan")}}, "result.sqnr_db"),
        ({"name": "toy-fixed-smoke-s1.json"}, "toy-fixed-smoke-s0.json"),
    ],
)
def test_a_malformed_file_is_named_with_its_field(tmp_path, broken, message):
    path = write(tmp_path, **broken)
    with pytest.raises(RecordError) as caught:
        records.load_all(tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_runs_are_those_of_one_experiment_by_seed_and_not_of_its_namesakes(tmp_path):
    for seed in (10, 9, 0):
        records.save(make(seed=seed), tmp_path)
    records.save(make(profile="full"), tmp_path)
    records.save(make(experiment="toy-fixed-t20"), tmp_path)
    assert [r.seed for r in records.records_of("toy-fixed", "smoke", tmp_path)] == [0, 9, 10]
    assert [r.run_id for r in records.records_of("toy-fixed", folder=tmp_path)][-1] == "toy-fixed-full-s0"
    assert records.records_of("toy", folder=tmp_path) == []
    assert len(records.load_all(tmp_path)) == 5
    with pytest.raises(RecordError, match="profile='huge'; allowed: None, 'smoke', 'laptop', 'full'"):
        records.records_of("toy-fixed", "huge", tmp_path)


def test_the_variable_names_the_folder_and_a_wrong_name_is_not_a_folder_without_records(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path / "elsewhere"))
    for read in (records.load_all, lambda: records.records_of("toy-fixed")):
        with pytest.raises(FileNotFoundError, match=r"ATIF_RESULTS=.*elsewhere: .* is no folder; allowed: one with"):
            read()
    assert records.save(make()).parent == tmp_path / "elsewhere"
    monkeypatch.delenv("ATIF_RESULTS")
    assert paths.results_folder() == records.RESULTS


def test_metric_follows_a_dotted_path_and_a_wrong_one_is_named():
    assert make().metric("sqnr_db") == 0.45
    assert make().metric("p.1") == 0.5
    assert make().metric("theta.layer1") == 0.1
    assert make().metric("epochs.0.sqnr_db") == 0.1
    for path in ("accuracy", "p.2", "p.x", "sqnr_db.mean", "", "sqnr_db."):
        with pytest.raises(RecordError, match=f"no metric {re.escape(repr(path))};"):
            make().metric(path)


def test_metric_follows_keys_with_dots_of_their_own():
    layers = {"blocks.1": {"sd": 1.0}, "blocks.10": {"sd": 2.0}, "blocks": {"1": {"sd": 3.0}}}
    record = make(result={"currents": layers})
    assert [record.metric(f"currents.blocks.{n}.sd") for n in (1, 10)] == [1.0, 2.0]
    with pytest.raises(RecordError, match=r"no metric 'currents.blocks.2.sd'"):
        record.metric("currents.blocks.2.sd")


def test_settings_that_differ_are_named_by_dots_wherever_they_are_in_a_configuration():
    old = make(config={"summary": "old", "recipe": {"lr": 0.1, "augment": ("flip",)}, "gone": None}).settings
    new = records.settings_of({"summary": "new", "recipe": {"lr": 0.2, "augment": ["flip"]}, **dict(records.ADDED)})
    assert old["recipe.augment"] == ["flip"]
    assert records.differing(old, new | {"recipe.scales": [1.0]}) == ["gone", "recipe.lr"]
    assert records.differing(old, old) == records.differing(old) == []


def test_recording_times_the_run_and_saves_it(tmp_path):
    with records.recording("toy-fixed", "smoke", 3, {"timesteps": 4}, tmp_path) as run:
        run.epochs.append({"sqnr_db": 0.4})
        run.result["sqnr_db"] = 0.45
    record = records.load(run.path)
    assert (record.run_id, record.result, len(record.epochs)) == ("toy-fixed-smoke-s3", {"sqnr_db": 0.45}, 1)
    assert 0 <= record.wall_s < 60
    assert {"python", "torch", "torchvision", "spikingjelly", "lightning-fabric", "numpy"} < set(record.versions)
    assert None not in record.versions.values()
    assert record.device


def test_a_run_that_raises_leaves_no_record_and_a_bad_configuration_fails_at_the_start(tmp_path):
    with pytest.raises(ZeroDivisionError), records.recording("toy-fixed", "smoke", 0, {}, tmp_path):
        _ = 1 / 0
    with pytest.raises(RecordError, match=r"config\.slope"), records.recording("toy", "smoke", 0, {"slope": make}):
        pytest.fail("the run started")
    assert os.listdir(tmp_path) == []


def checkout(folder):
    """Make a git repository of one commit whose `atif_lib` holds one file."""
    (folder / "atif_lib").mkdir()
    (folder / "atif_lib" / "neurons.py").write_text("")
    commit_all(folder)


def test_dirty_looks_at_what_a_run_depends_on(tmp_path, monkeypatch):
    checkout(tmp_path)
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path.resolve())
    commit, dirty = environment.git_state()
    assert (len(commit), dirty) == (40, False)
    (tmp_path / "notes.md").write_text("a chapter, a record")
    assert environment.git_state() == (commit, False)
    (tmp_path / "atif_lib" / "new.py").write_text("")
    assert environment.git_state() == (commit, True)


@pytest.fixture
def said():
    """What is said once is said again in the next test."""
    environment._say_no_commit.cache_clear()
    yield
    environment._say_no_commit.cache_clear()


@pytest.mark.usefixtures("said")
def test_outside_its_own_checkout_there_is_no_commit(tmp_path, monkeypatch, capsys):
    checkout(tmp_path)
    inside = tmp_path / "atif_lib"  # as a package installed in a virtual environment within some repository
    monkeypatch.setattr(environment, "CHECKOUT", inside.resolve())
    assert environment.git_state() == (None, None)
    assert "the library is not in a repository of its own" in capsys.readouterr().err


GIT_FAULTS = {
    "no repository": "fatal: not a git repository",
    "refused": "fatal: detected dubious ownership in repository",
    "missing": "git is not installed",
    "silent": "git ended with status 1",
}


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for git")
@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("fault", GIT_FAULTS)
def test_without_a_commit_one_line_says_why(tmp_path, monkeypatch, capsys, fault):
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path.resolve())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if fault != "no repository":
        monkeypatch.setenv("PATH", str(tmp_path))
    if fault in ("refused", "silent"):
        told = f"echo '{GIT_FAULTS[fault]}'>&2; echo 'To add an exception, call:'>&2; " * (fault == "refused")
        (tmp_path / "git").write_text(f"#!/bin/sh\n{told}exit 1\n")
        (tmp_path / "git").chmod(0o755)
    for _ in range(2):
        with records.recording("toy-fixed", "smoke", 0, {}, tmp_path) as draft:
            pass
        assert records.load(draft.path).commit is None
    errors = capsys.readouterr().err
    assert errors.startswith(f"atif_lib: the record has no commit: {GIT_FAULTS[fault]}")
    assert errors.count("\n") == 1


def test_a_record_says_with_how_many_threads_it_ran(tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with records.recording("toy-fixed", "smoke", 0, {}, tmp_path) as draft:
                pass
            assert records.load(draft.path).device.endswith(f", {threads} thread{'s' * (threads > 1)}")
    finally:
        torch.set_num_threads(before)


def test_peak_memory_is_that_of_this_process():
    if sys.platform == "win32":
        assert environment.peak_memory_mib() is None
        return
    before = environment.peak_memory_mib()
    block = np.ones(40 * 2**20)  # 320 MiB of float64
    assert before > 5
    assert environment.peak_memory_mib() >= max(before, block.nbytes / 2**20)
    if sys.platform == "linux":  # where the kernel says it in another place, too
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
        assert environment.peak_memory_mib() == pytest.approx(int(peak[1]) / 1024, rel=0.02)


def test_the_environment_names_no_host_and_no_path():
    found = [environment.git_state(), environment.versions(), environment.device()]
    assert platform.node() not in environment.device().split()
    assert str(environment.CHECKOUT) not in json.dumps(found)


def test_the_device_of_a_mac_s_gpu_is_named_once_it_is_used(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for used in (0, 2**20):
        monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda used=used: used)
        assert environment.device().startswith("MPS; ") == bool(used)
