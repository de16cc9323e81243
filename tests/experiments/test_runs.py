"""A run leaves a record, weights that give its numbers again, and metrics; it can be told, stopped and gone on with."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import training_worker as worker

from atif_lib import data
from atif_lib.experiments import networks, registry, runs
from atif_lib.experiments.networks import behaviour
from atif_lib.experiments.registry import find
from atif_lib.networks import ACTIVATIONS, NETWORKS
from atif_lib.results import records
from atif_lib.training import Recipe
from atif_lib.training import loop as training
from atif_lib.training.evaluation import evaluate

NAME = "cifar10-small-atif-u"
QUICK = "cifar10-small-relu"
LEFT = ["commits.txt", "lock", "machines.txt", "metrics.csv", "weights.safetensors"]


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A run at the smoke profile, its results folder and its folder of runs; CIFAR-10 is not there, digits are."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_RESULTS", str(folder / "results"))
        patch.setenv("ATIF_RUNS", str(folder / "runs"))
        worker.shrink_smoke(patch)
        yield runs.run(NAME, "smoke"), folder


@pytest.fixture
def folders(digits, results, tmp_path, monkeypatch):
    """Empty folders for records and runs."""
    monkeypatch.setenv("ATIF_RUNS", str(tmp_path / "runs"))
    worker.shrink_smoke(monkeypatch)
    return results, tmp_path / "runs"


def test_a_run_leaves_record_weights_and_metrics(finished):
    record, folder = finished
    assert os.listdir(folder / "results") == [f"{NAME}-smoke-s0.json"]
    assert records.load(folder / "results" / f"{NAME}-smoke-s0.json") == record
    left = folder / "runs" / f"{NAME}-smoke-s0"
    assert sorted(os.listdir(left)) == LEFT
    table = pd.read_csv(left / "metrics.csv")
    assert table["test_accuracy"].tolist() == [e["test_accuracy"] for e in record.epochs]
    assert record.result["test_accuracy"] == record.epochs[-1]["test_accuracy"]
    assert record.result["source"] == "scikit-learn"
    assert record.data_sha256 == data.load("digits").sha256
    assert record.config["recipe"]["epochs"] == 1
    assert record.config["limit"] == 64
    assert record.result["parameters"] == 61_342
    assert len(record.result["thresholds"]) == len(record.result["theta_layers"]) == 4
    assert record.wall_s >= record.epochs[-1]["seconds"]


def test_a_record_keeps_what_its_network_does(finished):
    record, _ = finished
    found, layers = record.result, list(record.result["theta_layers"])
    assert len(found["accuracy_over_time"]) == 8, "a threshold for all timesteps goes on beyond four"
    assert found["accuracy_over_time"][3] == found["test_accuracy"]
    confused = torch.tensor(found["confusion"])
    assert confused.sum() == 64
    assert 100 * confused.diagonal().sum().item() / 64 == found["test_accuracy"]
    assert list(found["currents"]) == list(found["errors"]) == list(found["sqnr_db_layers"]) == layers
    assert found["errors"][layers[0]]["unevenness"] == 0.0, "the first current is constant"
    assert all(moments["sd"] > 0 for moments in found["currents"].values())


@pytest.mark.parametrize("neuron", ["atif-nu", "atif-nu-safe"])
def test_what_a_silent_network_does_can_be_written(digits, neuron):
    network = NETWORKS["small"](ACTIVATIONS[neuron], 4, in_channels=digits.test_inputs.shape[1])
    torch.nn.init.zeros_(network.stem[0].weight)
    found = behaviour(network, digits.thinned(64), Recipe())
    assert len(found["accuracy_over_time"]) == 4
    assert next(iter(found["currents"].values()))["skewness"] is None
    json.dumps(found, allow_nan=False)


def test_the_weights_give_the_record_s_numbers_again(finished):
    record, _ = finished
    network, examples = runs.trained(record.run_id)
    assert not network.training
    metrics = evaluate(network, examples)
    assert metrics == {k: record.result[k] for k in metrics}
    assert metrics["theta"] > 0
    assert len(examples.test_labels) == 64


def test_committed_weights_serve_where_nothing_was_run(finished, folders, monkeypatch):
    record, folder = finished
    monkeypatch.setattr(runs, "weights_folders", lambda: (folder,))
    weights = folder / "runs" / record.run_id / "weights.safetensors"
    (folder / f"{record.run_id}.safetensors").write_bytes(weights.read_bytes())
    network, examples = runs.trained(record.run_id)
    assert evaluate(network, examples)["test_accuracy"] == record.result["test_accuracy"]


def test_weights_of_another_training_are_not_taken_for_those_of_the_record(finished, folders, monkeypatch, capsys):
    record, folder = finished
    monkeypatch.setenv("ATIF_RESULTS", str(folder / "results"))
    good = (folder / "runs" / record.run_id / runs.WEIGHTS).read_bytes()
    other = runs.run_folder(NAME, "smoke", 0) / runs.WEIGHTS
    other.parent.mkdir(parents=True)
    other.write_bytes(good[:-4] + b"\0\0\0\0")
    with pytest.raises(FileNotFoundError, match=r"has not the weights of the record of .*, and none are committed"):
        runs.trained(record.run_id)
    monkeypatch.setattr(runs, "weights_folders", lambda: (folder / "exported",))
    (folder / "exported").mkdir()
    (folder / "exported" / f"{record.run_id}.safetensors").write_bytes(good)
    assert evaluate(*runs.trained(record.run_id))["test_accuracy"] == record.result["test_accuracy"]
    assert f"{folder / 'exported'}" in capsys.readouterr().err
    other.write_bytes(good)
    runs.trained(record.run_id)
    assert capsys.readouterr().err == ""


def test_damaged_weights_are_named(finished, folders, monkeypatch):
    record, folder = finished
    good = (folder / "runs" / record.run_id / runs.WEIGHTS).read_bytes()
    (folders[1] / record.run_id).mkdir(parents=True)
    (folders[1] / record.run_id / runs.WEIGHTS).write_bytes(good[:-100])
    with pytest.raises(ValueError, match=rf"{runs.WEIGHTS} is damaged: "):
        runs.trained(record.run_id)


def test_exported_weights_are_half_as_large_and_as_good(finished, folders, monkeypatch):
    record, folder = finished
    monkeypatch.setenv("ATIF_RUNS", str(folder / "runs"))
    out = folders[1] / "weights"
    path, before, after = runs.export(record.run_id, out)
    assert os.listdir(out) == [f"{record.run_id}.safetensors"]
    assert path.stat().st_size < 0.55 * (folder / "runs" / record.run_id / "weights.safetensors").stat().st_size
    assert before == record.result["test_accuracy"]
    assert after == pytest.approx(before, abs=5)  # of 64 images
    monkeypatch.setenv("ATIF_RUNS", str(folders[1]))
    monkeypatch.setattr(runs, "weights_folders", lambda: (out,))
    assert evaluate(*runs.trained(record.run_id))["test_accuracy"] == after


@pytest.mark.parametrize(
    ("run_id", "error", "message"),
    [
        ("cifar10", ValueError, "run='cifar10'; allowed: <experiment>-<profile>-s<seed>"),
        ("toy-fixed-smoke-s0", ValueError, "toy-fixed trains no network"),
        ("cifar10-smal-relu-smoke-s0", ValueError, "did you mean cifar10-small-relu"),
        (
            "cifar10-small-relu-full-s0",
            ValueError,
            "profile of cifar10-small-relu='full'; allowed: 'smoke', 'laptop'",
        ),
        (
            "cifar10-small-relu-smoke-s7",
            FileNotFoundError,
            "cifar10-small-relu-smoke-s7: no weights at .*`train` makes",
        ),
    ],
)
def test_a_run_that_is_not_there_is_named(folders, run_id, error, message):
    with pytest.raises(error, match=message):
        runs.trained(run_id)


@pytest.mark.parametrize("run_id", ["cifar10", "toy-fixed-smoke-s0", "cifar10-small-relu-smoke-s7"])
def test_what_can_be_tested_instead_is_named(folders, run_id, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "weights_folders", lambda: (tmp_path / "none", tmp_path / "weights"))
    with pytest.raises((ValueError, FileNotFoundError)) as alone:
        runs.trained(run_id)
    assert "weights are here" not in str(alone.value)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "cifar10-small-if-laptop-s0.safetensors").touch()
    for name in ("cifar10-small-if-laptop-s1", "cifar10-small-if-laptop-s1-validation"):
        (folders[1] / name).mkdir(parents=True)
        (folders[1] / name / runs.WEIGHTS).touch()
    with pytest.raises(type(alone.value)) as found:
        runs.trained(run_id)
    here = ["cifar10-small-if-laptop-s0", "cifar10-small-if-laptop-s1"]
    added = str(found.value).removeprefix(f"{alone.value}; weights are here of ")
    assert sorted(added.split(", ")) == here
    for seed in range(9):
        (tmp_path / "weights" / f"cifar10-small-if-laptop-s{seed}.safetensors").touch()
    with pytest.raises(type(alone.value), match=r"weights are here of (\S+, ){8}1 more$"):
        runs.trained(run_id)


@pytest.mark.parametrize("call", [runs.run, runs.estimate])
def test_an_unknown_name_or_profile_is_refused(folders, call):
    with pytest.raises(ValueError, match=r"unknown experiment 'cifar10-small-rel': did you mean .*cifar10-small-relu"):
        call("cifar10-small-rel")
    with pytest.raises(ValueError, match="profile of cifar10-small-relu='full'; allowed: 'smoke', 'laptop'"):
        call(QUICK, "full")
    with pytest.raises(data.DataUnavailable, match="to fetch it, run"):
        call(QUICK)  # at the profile of its results
    assert not any(folder.exists() for folder in folders)


def constant(record):
    """What two runs of the same must have in common."""
    varies = ("date", "wall_s", "peak_memory_mib", "epochs", "result")
    clean = [{k: v for k, v in metrics.items() if k != "seconds"} for metrics in (*record.epochs, record.result)]
    return clean, {k: v for k, v in record.model_dump().items() if k not in varies}


@pytest.mark.parametrize("name", [QUICK, "cifar10-small-atif-u-all"])
def test_stopped_and_resumed_it_leaves_the_same_record(folders, monkeypatch, name):
    results, left = folders
    whole = runs.run(name, "smoke", seed=2)
    weights = (left / whole.run_id / "weights.safetensors").read_bytes()
    (results / f"{whole.run_id}.json").unlink()
    (left / whole.run_id / "weights.safetensors").unlink()
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    worker.signal_before(5, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runs.run(name, "smoke", seed=2)
    assert os.listdir(results) == [], "an interrupted run left a record"
    resumed = runs.run(name, "smoke", seed=2, resume=True)
    assert constant(resumed) == constant(whole)
    assert (left / whole.run_id / "weights.safetensors").read_bytes() == weights
    assert resumed.wall_s >= resumed.epochs[-1]["seconds"], "the time before the interruption counts"


@pytest.mark.parametrize("key", ["data_start", "scale_start"])
def test_a_run_that_began_with_another_start_is_not_gone_on_with(folders, monkeypatch, key):
    """It kept the thresholds of the old start and recorded those of the new one."""
    name = "cifar10-small-if"
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    worker.signal_before(5, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runs.run(name, "smoke")
    monkeypatch.setitem(registry.EXPERIMENTS, name, replace(find(name), **{key: True}))
    with pytest.raises(ValueError, match=f"not a checkpoint of this run .*{key}=None, not True"):
        runs.run(name, "smoke", resume=True)


def test_a_run_of_several_sittings_keeps_the_code_and_the_machines_of_all(folders, monkeypatch):
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    mixed_loss = training.mixed_loss
    sittings = [("a" * 40, "slow, 2 threads"), ("a" * 40, "fast, 8 threads"), ("b" * 40, "slow, 2 threads")]
    for commit, device in sittings:
        monkeypatch.setattr(runs, "git_state", lambda commit=commit: (commit, False))
        monkeypatch.setattr(runs, "device", lambda device=device: device)
        monkeypatch.setattr(runs, "versions", lambda: {"torch": "2.0", "spikingjelly": None})
        training.mixed_loss = mixed_loss
        if commit == "a" * 40:
            worker.signal_before(2, signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                runs.run(QUICK, "smoke", resume=True)
        else:
            result = runs.run(QUICK, "smoke", resume=True).result
    assert result["machines"] == ["slow, 2 threads; torch 2.0", "fast, 8 threads; torch 2.0"]
    assert result["commits"] == ["a" * 40, "b" * 40]
    anew = runs.run(QUICK, "smoke").result
    assert not {"commits", "machines"} & anew.keys(), "a finished run is not gone on with"


def test_a_start_from_data_is_recorded_and_a_matter_of_the_seed(folders):
    starts = []
    for seed in (0, 1):
        record = runs.run("cifar10-small-atif-u-data", "smoke", seed)
        assert record.config["data_start"]
        assert list(record.result["v0"].values()) == [0.0] * 4
        starts.append([t[0] for t in record.result["thresholds_at_start"].values()])
        ends = [t[0] for t in record.result["thresholds"].values()]
        assert all(0 < abs(a - b) < 0.5 for a, b in zip(starts[-1], ends, strict=True)), (starts, ends)
    assert all(a != b and abs(a - 1) > 0.01 for a, b in zip(*starts, strict=True))


def test_a_validation_record_is_kept_apart(folders):
    results, left = folders
    record = runs.run(QUICK, "smoke", validation=True)
    assert os.listdir(results) == ["validation"]
    assert records.load_all() == []
    assert records.load_all(validation=True) == [record]
    assert record.config["validation"]
    assert not (left / f"{QUICK}-smoke-s0").exists()


def test_a_toy_leaves_a_record_alone(folders):
    results, left = folders
    record = runs.run("toy-fixed", "smoke")
    assert record.result["sqnr_db"] == pytest.approx(0.45, abs=0.01)
    assert os.listdir(results) == ["toy-fixed-smoke-s0.json"]
    assert not left.exists()


def test_a_large_network_runs_at_smoke(folders):
    """Channels last, as all large ones: its weights are not contiguous."""
    record = runs.run("cifar10-vgg16-relu", "smoke")
    network, examples = runs.trained(record.run_id)
    assert record.result["parameters"] == sum(p.numel() for p in network.parameters())
    assert evaluate(network, examples)["test_accuracy"] == record.result["test_accuracy"]


def test_an_estimate_tells_the_cost_and_leaves_nothing(finished, folders):
    record, _ = finished
    told = runs.estimate(NAME, "smoke", count=2)
    assert told["parameters"] == f"{record.result['parameters']:,}"
    assert told["MACs for one input"] == f"{record.result['macs']:,} (4 timesteps)"
    assert told["training examples"] == "64, source scikit-learn"
    assert told["updates"] == "8 of 8 examples in 1 epochs"
    assert told["device"] == "cpu"
    assert told["precision"] == "32-true"
    assert float(told["seconds an update"].split()[0]) > 0
    assert told["peak memory"].endswith("MiB")
    assert not any(folder.exists() for folder in folders)


def test_small_inputs_cost_their_share_of_the_area(folders, monkeypatch):
    whole = find(QUICK).at("smoke")
    scaled = replace(whole, recipe=replace(whole.recipe, scales=(0.5, 1.0)))
    monkeypatch.setattr(runs, "train", lambda *arguments: [{"seconds": seconds} for seconds in (9.0, 11.0, 13.0)])
    costs = []
    for experiment in (whole, scaled):
        monkeypatch.setattr(runs, "_at", lambda *arguments, chosen=experiment: (chosen, "smoke"))
        costs.append(runs.cost_here(QUICK, "smoke", count=3).seconds)
    assert costs == [2.0, 1.25]


def test_an_estimate_where_no_one_counts_memory(folders, monkeypatch):
    monkeypatch.setattr(runs, "peak_memory_mib", lambda: None)
    assert runs.estimate(QUICK, "smoke", count=2)["peak memory"] == "unknown here"


def test_an_estimate_says_of_what_it_takes_steps(folders, capsys):
    runs.estimate(QUICK, "smoke", count=2)
    said = capsys.readouterr().err
    assert said.strip() == f"{QUICK}: taking 2 steps of 8 examples, to tell what all would cost"


def test_an_estimate_of_what_trains_no_network_is_refused():
    with pytest.raises(ValueError, match=r"^toy-fixed trains no network; allowed: an experiment that trains one$"):
        runs.estimate("toy-fixed")


@pytest.mark.parametrize("call", [runs.estimate, runs.cost_here])
def test_fewer_steps_than_leave_one_to_time_are_refused(call):
    with pytest.raises(ValueError, match="count=1; allowed: an integer, 2 or more"):
        call(QUICK, "smoke", count=1)


@worker.several_processes
def test_two_processes_leave_one_run(folders):
    results, left = folders
    command = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", "-m"]
    environment = os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", *command, "atif_lib", "train", QUICK, "--profile", "smoke"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=worker.PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    assert os.listdir(results) == [f"{QUICK}-smoke-s0.json"]
    assert sorted(os.listdir(left / f"{QUICK}-smoke-s0")) == LEFT
    assert records.load(results / f"{QUICK}-smoke-s0.json").epochs[0]["train_loss"] < 2.5


def test_what_follows_a_resumed_training_counts_as_time(folders, monkeypatch):
    """100 seconds before the interruption, nearly none after it, and a third of one to look at the network."""
    last = {"epoch": 1, "seconds": 100.0, "test_accuracy": 10.0}
    monkeypatch.setattr(networks, "train", lambda *args, **options: iter([last]))
    monkeypatch.setattr(networks, "behaviour", lambda *args: time.sleep(0.3) or {})
    assert 100.3 < runs.run(NAME, "smoke").wall_s < 200


@pytest.mark.parametrize(("setting", "changed"), [("scales", (0.5, 1.0)), ("save_memory", True)])
def test_a_record_without_a_later_setting_had_its_default(finished, setting, changed):
    experiment, record = find(NAME).at("smoke"), copy.deepcopy(finished[0])
    assert runs.staleness(record, experiment, None) == ""
    record.config["recipe"].pop(setting)
    assert runs.staleness(record, experiment, None) == ""
    now = replace(experiment, recipe=replace(experiment.recipe, **{setting: changed}))
    assert runs.staleness(record, now, None) == f"its configuration has changed: recipe.{setting}"


def test_a_record_is_stale_by_a_setting_but_not_by_its_summary(finished):
    experiment, record = find(NAME).at("smoke"), copy.deepcopy(finished[0])
    assert runs.staleness(record, replace(experiment, summary="in other words"), None) == ""
    now = replace(experiment, timesteps=8, recipe=replace(experiment.recipe, lr=1.0))
    assert runs.staleness(record, now, None) == "its configuration has changed: recipe.lr, timesteps"
    record.config["gone"] = 1
    assert runs.staleness(record, experiment, None) == "its configuration has changed: gone"


def test_a_record_of_other_data_than_that_of_its_start_is_stale(finished):
    experiment, record = find(NAME).at("smoke"), copy.deepcopy(finished[0])
    start = record.model_copy(update={"experiment": QUICK})
    record.result["start_sha256"] = start.result["weights_sha256"]
    assert runs.staleness(record, experiment, start) == ""
    other = start.model_copy(update={"data_sha256": "0" * 64})
    assert runs.staleness(record, experiment, other) == f"it was trained on other data than {QUICK}-smoke-s0"


def test_a_stage_before_the_one_that_it_starts_from_says_which_to_train(folders):
    message = "is not there: python -m atif_lib train cifar10-small-relu-staged --profile smoke --seeds 3 makes it"
    with pytest.raises(FileNotFoundError, match=message):
        runs.run("cifar10-small-quantized-staged", "smoke", 3)


@pytest.mark.parametrize("validation", [False, True])
def test_weights_that_are_not_those_of_their_record_start_no_run(folders, validation):
    first, later = "cifar10-small-relu-staged", "cifar10-small-quantized-staged"
    record = runs.run(first, "smoke", validation=validation)
    weights = runs.run_folder(first, "smoke", 0, validation) / runs.WEIGHTS
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + b"else")
    with pytest.raises(ValueError, match=rf"has not the weights of the record .*: train {record.run_id} anew first"):
        runs.run(later, "smoke", validation=validation)
    weights.write_bytes(kept)
    path = folders[0] / ("validation" if validation else "") / f"{record.run_id}.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | {"result": {"test_accuracy": 1.0}}), encoding="utf-8")
    with pytest.raises(ValueError, match="has not the weights of the record"):
        runs.run(later, "smoke", validation=validation)  # stale at once
    path.write_text(json.dumps(values), encoding="utf-8")
    assert runs.run(later, "smoke", validation=validation).result["start_sha256"] == record.result["weights_sha256"]


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "seed=-1; allowed: an integer, 0 or more"),
        (0.5, "seed=0.5; allowed: an integer, 0 or more"),
        (10**20, f"seed={10**20}; allowed: an integer, {2**63 - 1} or less"),
    ],
)
@pytest.mark.parametrize("name", [QUICK, "toy-fixed"])
def test_a_seed_that_is_none_is_refused(folders, name, seed, message):
    with pytest.raises(ValueError, match=message):
        runs.run(name, "smoke", seed)
    assert not any(folder.exists() for folder in folders)


def test_an_estimate_of_a_batch_larger_than_the_data_is_refused(folders, monkeypatch):
    whole = find(QUICK).at("smoke")
    large = replace(whole, recipe=replace(whole.recipe, batch_size=65))
    monkeypatch.setattr(runs, "train", lambda *arguments: [{"seconds": seconds} for seconds in (9.0, 11.0)])
    monkeypatch.setattr(runs, "_at", lambda *arguments: (large, "smoke"))
    with pytest.raises(ValueError, match="batch_size=65; allowed: 1 to the number of training examples, 64"):
        runs.cost_here(QUICK, "smoke")
