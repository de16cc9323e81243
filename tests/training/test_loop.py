"""Training learns, goes on where it was stopped to the last bit, and is the same shared between processes."""

import copy
import dataclasses
import logging
import math
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import training_worker as worker
from torch import nn
from torch.testing import assert_close

from atif_lib import data
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, neurons_of, vgg_small
from atif_lib.neurons.atif import ATIFu
from atif_lib.training import loop as training
from atif_lib.training.batches import Batches, mixed_loss, updates_per_epoch
from atif_lib.training.checkpoints import STOP_SIGNALS, Checkpoint
from atif_lib.training.loop import parameter_groups, schedule, train
from atif_lib.training.recipe import Recipe

WORKER = Path(worker.__file__)
FAST = Recipe(epochs=1, batch_size=24, augment=())


@pytest.fixture(autouse=True)
def one_thread():
    """As in the worker: another number of threads sums in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few(digits):
    return digits.thinned(100)


def without_seconds(history):
    return [{k: v for k, v in metrics.items() if k != "seconds"} for metrics in history]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def python(*arguments, timeout=worker.PATIENCE):
    """Run python with our sources first; its output is in the error that a failed assertion shows."""
    environment = os.environ | {"PYTHONPATH": str(WORKER.parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=timeout
    )


# --- a stopped training goes on ---


@pytest.fixture(scope="module")
def uninterrupted(digits):
    torch.set_num_threads(1)
    network = worker.network()
    return network, list(train(network, worker.examples(), worker.RECIPE))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_in_mid_epoch_and_resumed_it_ends_where_it_would_have(tmp_path, uninterrupted):
    killed = python(WORKER, tmp_path, "atif-u", "KILL", 7)  # of 8 updates, in the second epoch
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["scheduler"]["last_epoch"] == 6, "a checkpoint after each update"
    expected, history = uninterrupted
    resumed = worker.network()
    nn.init.zeros_(resumed.readout.weight)  # all comes from the checkpoint
    found = list(train(resumed, worker.examples(), worker.RECIPE, folder=tmp_path, resume=True))
    assert_same(resumed.state_dict(), expected.state_dict())
    assert without_seconds(found) == without_seconds(history)
    assert found[0]["seconds"] < found[1]["seconds"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("update", [2, 4, 6])  # 4 is the last of the first epoch
def test_stopped_by_hand_it_keeps_a_checkpoint(tmp_path, uninterrupted, monkeypatch, number, update):
    expected, history = uninterrupted
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)  # put back at the end
    worker.signal_before(update, number)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        list(train(worker.network(), worker.examples(), worker.RECIPE, folder=tmp_path))
    assert signal.getsignal(number) is before
    resumed = worker.network()
    found = list(train(resumed, worker.examples(), worker.RECIPE, folder=tmp_path, resume=True))
    assert_same(resumed.state_dict(), expected.state_dict())
    assert without_seconds(found) == without_seconds(history)
    again = list(train(worker.network(), worker.examples(), worker.RECIPE, folder=tmp_path, resume=True))
    assert again == found, "a complete run only reports"


def test_stopped_while_the_checkpoint_of_an_epoch_is_written_it_stops_there(tmp_path, monkeypatch):
    save = Checkpoint.save

    def slow(checkpoint, progress):
        signal.raise_signal(signal.SIGINT)
        save(checkpoint, progress)

    monkeypatch.setattr(Checkpoint, "save", slow)
    with pytest.raises(KeyboardInterrupt):
        list(train(worker.network(), worker.examples(), worker.RECIPE, folder=tmp_path))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1, "not only after the last of two epochs"


def test_nothing_to_resume_is_a_start_and_no_resume_starts_anew(tmp_path, uninterrupted):
    for resume in (True, False):
        network = worker.network()
        history = list(train(network, worker.examples(), worker.RECIPE, folder=tmp_path, resume=resume))
        assert_same(network.state_dict(), uninterrupted[0].state_dict())
        assert without_seconds(history) == without_seconds(uninterrupted[1])


@pytest.mark.parametrize("change", [{"lr": 0.2}, {"epochs": 3}, {"mix": None}, {"seed": 1}])
def test_the_checkpoint_of_another_recipe_or_seed_is_refused(tmp_path, few, change):
    list(train(worker.network(), few, FAST, folder=tmp_path))
    seed = change.pop("seed", 0)
    recipe = dataclasses.replace(FAST, **({"mix": "mixup"} if "mix" in change else change))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a checkpoint of this run"):
        list(train(worker.network(), few, recipe, seed=seed, folder=tmp_path, resume=True))


def test_a_checkpoint_is_not_taken_up_with_other_examples_of_the_same_data(tmp_path, few):
    list(train(worker.network(), few, FAST, folder=tmp_path))
    fewer = few.thinned(len(few.train_labels) // 2)
    assert fewer.sha256 == few.sha256
    with pytest.raises(ValueError, match=r"it was made with examples=\[\d+, \d+\], not \[\d+, \d+\]"):
        list(train(worker.network(), fewer, FAST, folder=tmp_path, resume=True))


def test_seeds_differ_and_repeat(few):
    ends = [worker.network() for _ in range(3)]
    for network, seed in zip(ends, (0, 0, 1), strict=True):
        list(train(network, few, FAST, seed=seed))
    assert_same(ends[0].state_dict(), ends[1].state_dict())
    assert not torch.equal(ends[0].readout.weight, ends[2].readout.weight)


def with_dropout(seed):
    network = worker.network("relu")
    network.blocks.append(nn.Dropout(0.3))
    torch.manual_seed(seed)  # what torch has drawn before is not to matter
    return network


def test_dropout_too_draws_what_belongs_to_the_update(tmp_path, few, monkeypatch):
    whole = with_dropout(1)
    list(train(whole, few, FAST))
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(1)), "torch's own draws are left"
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)  # put back at the end
    worker.signal_before(3, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(train(with_dropout(2), few, FAST, folder=tmp_path))
    resumed = with_dropout(3)
    list(train(resumed, few, FAST, folder=tmp_path, resume=True))
    assert_same(resumed.state_dict(), whole.state_dict())


# --- several processes ---


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", 2)


@worker.several_processes
def test_a_signal_to_one_process_stops_all_after_the_same_update(tmp_path, digits, uninterrupted):
    stopped = python(*TORCHRUN, WORKER, tmp_path, "atif-u", "TERM", 3)
    assert stopped.returncode
    assert "KeyboardInterrupt" in stopped.stderr
    assert not (tmp_path / "final.pt").exists()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["scheduler"]["last_epoch"] == 3
    resumed = python(*TORCHRUN, WORKER, tmp_path, "atif-u", "RESUME")
    assert resumed.returncode == 0, resumed.stderr
    for metrics, expected in zip(torch.load(tmp_path / "final.pt")["history"], uninterrupted[1], strict=True):
        assert metrics["train_loss"] == pytest.approx(expected["train_loss"], abs=2e-3), "of all processes"


@worker.several_processes
@pytest.mark.slow
def test_two_processes_match_one_of_the_same_global_batch(tmp_path, digits, monkeypatch):
    shared = python(*TORCHRUN, WORKER, tmp_path, "atif-u")
    assert shared.returncode == 0, shared.stderr
    two = torch.load(tmp_path / "final.pt")
    monkeypatch.setattr(data, "normalizer", worker.in_double(data.normalizer))
    one = worker.network(dtype=torch.float64)
    start = copy.deepcopy(one.state_dict())
    history = list(train(one, worker.examples(), worker.RECIPE))
    assert (one.stem[0].weight - start["stem.0.weight"]).abs().max() > 1e-3
    for name, value in one.state_dict().items():
        assert_close(two["state"][name], value, atol=1e-7, rtol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
    for metrics, expected in zip(two["history"], history, strict=True):
        assert metrics["train_loss"] == pytest.approx(expected["train_loss"], abs=1e-6)
        assert metrics["test_accuracy"] == expected["test_accuracy"]


# --- learning ---


@pytest.mark.parametrize(("activation", "least"), [("relu", 80), ("if", 50), ("atif-u", 60), ("atif-nu", 60)])
@pytest.mark.slow
def test_it_learns(digits, activation, least):
    """Far above chance, 10 %, and far enough below what is reached here, 74 % and more."""
    torch.manual_seed(0)
    network = vgg_small(ACTIVATIONS[activation])
    start = [p.clone() for m in neurons_of(network).values() for p in m.parameters()]
    first, _, last = train(network, digits.thinned(400), Recipe(epochs=3, augment=(), batch_size=20))
    assert last["test_accuracy"] > least
    assert last["train_loss"] < first["train_loss"] - 0.3
    end = [p for m in neurons_of(network).values() for p in m.parameters()]
    assert all((p - q).abs().max() > 1e-3 for p, q in zip(start, end, strict=True)), "a threshold did not learn"


def test_metrics_of_an_epoch(few):
    (metrics,) = train(worker.network(), few, FAST)
    assert {"epoch", "seconds", "train_loss", "test_accuracy", "theta", "theta_layers"} <= metrics.keys()
    assert metrics["epoch"] == 1
    assert metrics["seconds"] > 0


@pytest.mark.parametrize("change", [{"mix": "mixup"}, {"mix": "cutmix"}, {"label_smoothing": 0.2}, {"clip": 0.01}])
def test_each_option_changes_the_training(few, change):
    plain, changed = worker.network(), worker.network()
    (metrics,), (other,) = train(plain, few, FAST), train(changed, few, dataclasses.replace(FAST, **change))
    assert math.isfinite(other["train_loss"])
    assert not torch.equal(plain.readout.weight, changed.readout.weight)
    if "clip" not in change:
        assert metrics["train_loss"] != other["train_loss"]


def test_clipping_bounds_the_norm_of_all_gradients(few):
    network = worker.network()
    start = copy.deepcopy(list(network.parameters()))
    recipe = Recipe(1, 100, momentum=0.0, nesterov=False, weight_decay=0.0, warmup=0.0, threshold_lr=0.1, clip=0.01)
    list(train(network, few, recipe))  # one update of lr 0.1
    moved = torch.cat([(p - q).flatten() for p, q in zip(network.parameters(), start, strict=True)])
    assert moved.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_bfloat16_keeps_the_weights_in_float32(few):
    network, plain = worker.network("relu"), worker.network("relu")
    (mixed,), (full,) = train(network, few, dataclasses.replace(FAST, precision="bf16-mixed")), train(plain, few, FAST)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert mixed["train_loss"] == pytest.approx(full["train_loss"], rel=0.05)
    assert mixed["train_loss"] != full["train_loss"]


def test_lower_precision_needs_no_word_of_another_library(few, monkeypatch):
    """Fabric tells of it in each training: six times in a dry run of a table."""
    told = []
    monkeypatch.setattr(logging.StreamHandler, "emit", lambda handler, note: told.append(note.getMessage()))
    monkeypatch.setattr(logging.getLogger("lightning_fabric"), "handlers", [logging.StreamHandler()])
    list(train(worker.network("relu"), few, dataclasses.replace(FAST, precision="bf16-mixed")))
    assert [line for line in told if "recision" in line] == []


def test_channels_last_trains_the_same_network(few):
    networks = [worker.network("relu") for _ in range(2)]
    for network, last in zip(networks, (False, True), strict=True):
        list(train(network, few, dataclasses.replace(FAST, batch_size=100, channels_last=last)))
    assert networks[1].blocks[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert_close(networks[0].stem[0].weight, networks[1].stem[0].weight, atol=1e-4, rtol=1e-3)


def test_compiled_neurons_train_the_same_network(few, uncompiled, monkeypatch):
    """By the functions that would be compiled: test_fused compiles them."""
    monkeypatch.setattr(torch, "compile", lambda function: function)
    plain, fused = worker.network(), worker.network()
    one_update = dataclasses.replace(FAST, batch_size=100)
    (metrics,) = train(plain, few, one_update)
    (other,) = train(fused, few, dataclasses.replace(one_update, compile=True))
    assert fused.blocks[0].fused
    assert other["train_loss"] == pytest.approx(metrics["train_loss"], rel=1e-5)
    assert_close(plain.readout.weight, fused.readout.weight, atol=1e-5, rtol=1e-4)


# --- the parts ---


def test_saving_memory_trains_the_same_network(few):
    histories, states = [], []
    for save_memory in (False, True):
        torch.manual_seed(0)
        network = NETWORKS["resnet8"](ACTIVATIONS["atif-u"])
        histories.append(without_seconds(train(network, few, dataclasses.replace(FAST, save_memory=save_memory))))
        states.append(network.state_dict())
    assert histories[0] == histories[1], "layers are named alike too"
    assert_same(*states)


def test_mixed_loss_by_hand():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    one, other, weight = torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([0.75, 1.0])
    first, second = math.log(math.exp(2) + 2), math.log(math.exp(1) + 2)
    by_hand = (0.75 * (first - 2) + 0.25 * first + (second - 1)) / 2
    assert mixed_loss(logits, one, other, weight).item() == pytest.approx(by_hand)
    smooth = 0.9 * by_hand + 0.1 * ((first - 2 / 3) + (second - 1 / 3)) / 2
    assert mixed_loss(logits, one, other, weight, 0.1).item() == pytest.approx(smooth)


def test_batches_are_of_all_examples_once_an_epoch_and_mixed_with_their_labels(few):
    plain = Batches(few, FAST, seed=3)
    drawn = [[plain.draw(epoch, step) for step in range(4)] for epoch in range(2)]
    rows = [[tuple(x.flatten().tolist()) for inputs, *_ in epoch for x in inputs] for epoch in drawn]
    assert all(len(set(epoch)) == 96 for epoch in rows)
    assert rows[0] != rows[1]
    known = {tuple(x.flatten().tolist()): int(y) for x, y in zip(plain.normalize(few.train_inputs), few.train_labels)}  # noqa: B905
    for inputs, one, other, weight in drawn[0]:
        assert [known[tuple(x.flatten().tolist())] for x in inputs] == one.tolist() == other.tolist()
        assert weight.tolist() == [1.0] * 24
    mixed = Batches(few, dataclasses.replace(FAST, mix="mixup"), seed=3)
    (inputs, one, other, weight), (alone, labels, *_) = mixed.draw(0, 0), plain.draw(0, 0)
    assert torch.equal(one, labels)
    share = weight.view(-1, 1, 1, 1)
    assert_close(inputs, share * alone + (1 - share) * alone.roll(1, 0), atol=1e-4, rtol=1e-4)
    assert torch.equal(other, labels.roll(1))


def test_scales_share_the_epochs_and_small_inputs_are_means_over_areas(few):
    whole = Batches(few, dataclasses.replace(FAST, epochs=6), seed=3)
    scaled = Batches(few, dataclasses.replace(FAST, epochs=6, scales=(0.5, 0.75, 1.0)), seed=3)
    drawn = [scaled.draw(epoch, 0)[0] for epoch in range(6)]
    assert [x.shape[2:] for x in drawn] == [(16, 16)] * 2 + [(24, 24)] * 2 + [(32, 32)] * 2
    means = whole.draw(1, 0)[0].unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5))
    assert_close(drawn[1], means)
    assert torch.equal(drawn[5], whole.draw(5, 0)[0])
    pixels = sum(x[0].numel() for x in drawn) / 6
    assert scaled.recipe.area == pytest.approx(pixels / few.train_inputs[0].numel())


@pytest.mark.parametrize(("epochs", "sides"), [(1, [32]), (2, [24, 32])])
def test_with_fewer_epochs_than_scales_the_last_ones_count(few, epochs, sides):
    batches = Batches(few, dataclasses.replace(FAST, epochs=epochs, scales=(0.5, 0.75, 1.0)), seed=3)
    assert [batches.draw(epoch, 0)[0].shape[3] for epoch in range(epochs)] == sides


def test_a_network_learns_from_small_inputs_first(few):
    recipe = dataclasses.replace(FAST, epochs=2, scales=(0.5, 1.0))
    seen = []
    network = worker.network()
    network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[3]))
    list(train(network, few, recipe))
    assert [side for side, other in zip(seen, [None, *seen], strict=False) if side != other] == [16, 32]  # tests too


def test_training_draws_every_batch_of_every_epoch(few, monkeypatch):
    drawn, draw = [], Batches.draw
    monkeypatch.setattr(Batches, "draw", lambda self, *place: drawn.append(place) or draw(self, *place))
    list(train(worker.network("relu"), few, dataclasses.replace(FAST, epochs=2)))
    assert drawn == [(epoch, step) for epoch in range(2) for step in range(4)]


def test_cosine_warms_up_and_ends_at_zero():
    factor = schedule(Recipe(epochs=10, warmup=0.2), updates=5)  # 10 updates of warm-up, then 40
    assert [factor(n) for n in (0, 4, 9)] == pytest.approx([1 / 11, 5 / 11, 10 / 11])
    assert [factor(n) for n in (10, 20, 30, 50)] == pytest.approx([1, 0.5 + 0.25 * 2**0.5, 0.5, 0], abs=1e-12)
    assert schedule(Recipe(warmup=0.0), 5)(0) == 1


def test_the_paper_s_steps():
    factor = schedule(Recipe(epochs=900, schedule="step", warmup=0.0), updates=7)
    assert [factor(7 * epoch) for epoch in (0, 29, 30, 59, 60, 899)] == pytest.approx([1, 1, 0.9, 0.9, 0.81, 0.9**29])
    assert factor(7 * 30 - 1) == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["small", "resnet8"])
def test_weights_decay_and_thresholds_biases_and_norms_do_not(name, activation):
    network = NETWORKS[name](ACTIVATIONS[activation])
    recipe = Recipe(lr=0.3, threshold_lr=0.02, weight_decay=1e-3)
    groups = {id(p): group for group in parameter_groups(network, recipe) for p in group["params"]}
    assert (
        len(groups)
        == len(list(network.parameters()))
        == sum(len(g["params"]) for g in parameter_groups(network, recipe))
    )
    for parameter, p in network.named_parameters():
        threshold = any(name in parameter for name in ("log_", "logit_v0", "region"))
        weight = parameter.endswith("weight") and p.dim() > 1 and not threshold
        assert groups[id(p)]["weight_decay"] == (1e-3 if weight else 0.0), parameter
        assert groups[id(p)]["lr"] == (0.02 if threshold else 0.3), parameter
    assert any("log_" in n or "region" in n for n, _ in network.named_parameters()) == (
        activation.startswith(("atif", "quantized")) and activation != "quantized-fixed"
    )


def test_a_vector_of_thresholds_for_each_channel_learns_at_the_thresholds_rate():
    network = vgg_small(lambda channels, timesteps: ATIFu(4, torch.ones(channels), step_mode="m"))
    assert len(parameter_groups(network, Recipe())[-1]["params"]) == 4


# --- what is refused ---


@pytest.mark.parametrize(("activation", "compiled"), [("relu", False), ("atif-u", False), ("atif-u", True)])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda n: n.stem[0].weight, "layer stem.0"),
        (lambda n: n.blocks[4][1].bias, "layer blocks.4.1"),
        (lambda n: n.readout.bias, "layer readout"),
    ],
)
def test_a_value_that_is_not_finite_names_the_layer(few, activation, compiled, place, message):
    """Also where a fused neuron answers NaN by silence, so that the loss is finite."""
    network = worker.network(activation)
    with torch.no_grad():
        place(network).view(-1)[0] = math.nan
    before = copy.deepcopy(network.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where there is no compiler
        with pytest.raises(FloatingPointError, match=f"at step 0 of epoch 1, from {message}$"):
            list(train(network, few, dataclasses.replace(FAST, compile=compiled)))
    for name, parameter in network.named_parameters():
        assert_close(parameter.data, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_told_of(few, monkeypatch, clip):
    class Rooted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g / 0

    monkeypatch.setattr(training, "mixed_loss", lambda logits, *rest: Rooted.apply(logits).square().mean())
    with pytest.raises(FloatingPointError, match="the norm of the gradient is nan at step 0 of epoch 1, from no layer"):
        list(train(worker.network(), few, dataclasses.replace(FAST, clip=clip)))


@pytest.mark.parametrize("activation", ["atif-u-v0", "atif-u"])
def test_the_same_network_goes_on_after_ctrl_c(tmp_path, few, monkeypatch, activation):
    """As in a notebook: what it has learned, and the wrappers of `save_memory`, are no other network."""
    recipe = dataclasses.replace(FAST, epochs=2, save_memory=True)
    torch.manual_seed(0)
    network = NETWORKS["resnet8"](ACTIVATIONS[activation], 2)
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    worker.signal_before(6, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(train(network, few, recipe, folder=tmp_path))
    assert len(list(train(network, few, recipe, folder=tmp_path, resume=True))) == 2


def test_between_two_epochs_ctrl_c_is_the_caller_s(few, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    recipe = dataclasses.replace(FAST, epochs=2)
    one, other = (train(worker.network(), few, recipe, folder=tmp_path / name) for name in "ab")
    for _ in zip(one, other, strict=True):
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_bad_layer_of_a_network_that_saves_memory_has_its_name(few):
    network = NETWORKS["resnet8"](ACTIVATIONS["atif-u"], 2)
    network.blocks[1].second[0].weight.data[0] = math.nan
    with pytest.raises(FloatingPointError, match=r"from layer blocks\.1\.second\.0$"):
        list(train(network, few, dataclasses.replace(FAST, save_memory=True)))


def test_an_infinite_loss_of_finite_layers_is_said_to_be_so(few, monkeypatch):
    monkeypatch.setattr(training, "mixed_loss", lambda logits, *rest: logits.sum() * math.inf)
    with pytest.raises(FloatingPointError, match="from no layer: the output of each is finite"):
        list(train(worker.network(), few, FAST))


def test_an_error_of_another_kind_is_not_taken_for_a_bad_loss(few):
    network = vgg_small(ACTIVATIONS["atif-u"])
    network.timesteps = 3
    with pytest.raises(ValueError, match=r"allowed: \[T=4"):
        list(train(network, few, FAST))


def test_a_batch_that_cannot_be_is_refused(few):
    with pytest.raises(ValueError, match="batch_size=101; allowed: 1 to the number of training examples, 100"):
        list(train(worker.network(), few, dataclasses.replace(FAST, batch_size=101)))


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size=24; allowed: a multiple of the number of processes, 5"):
        updates_per_epoch(100, 24, 5)


NUMBERS = ("lr", "threshold_lr", "weight_decay", "momentum", "warmup", "label_smoothing", "step_factor", "clip")
SENSELESS = {
    **dict.fromkeys(("epochs", "batch_size", "step_epochs"), (0, -1, 2.5, True, "3", None, math.inf)),
    **{name: (-0.1, math.nan, math.inf, True, "0.1", torch.zeros(2)) for name in NUMBERS},
    **dict.fromkeys(("nesterov", "channels_last", "compile", "save_memory"), (1, 0, "yes", None)),
    "schedule": ("cosin", None, 1, ["step"]),
    "mix": ("mixap", "", False),
    "precision": ("fp16", "fp4", 32, None),
    "augment": ("crop", None, ("flp",), (1,)),
    "scales": (1.0, None, (), (0.5,), (0.0, 1.0), (2.0, 1.0), (math.nan, 1.0), ("1",), (0.5, True)),
}
BEYOND = {"momentum": [1.0], "warmup": [1.0], "label_smoothing": [2.0], "step_factor": [1.1], "clip": [0.0]}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_a_recipe_refuses_what_makes_no_sense(field):
    for value in (*SENSELESS[field], *BEYOND.get(field, ())):
        with pytest.raises(ValueError, match=rf"{field}=.*; allowed: "):
            Recipe(**{field: value})


def test_momentum_is_needed_for_nesterov():
    with pytest.raises(ValueError, match=r"momentum=0.0 with nesterov=True; allowed: in \(0, 1\)"):
        Recipe(momentum=0.0)
    assert Recipe(momentum=0.0, nesterov=False).momentum == 0


def test_numbers_of_numpy_are_numbers_and_a_run_with_them_goes_on(tmp_path, few):
    recipe = Recipe(np.int64(1), np.int32(24), lr=np.float32(0.5), clip=np.float64(1), augment=["flip"])
    assert recipe == Recipe(1, 24, lr=0.5, clip=1.0, augment=("flip",))
    for resume in (False, True):  # torch's checkpoints hold values of Python alone
        assert len(list(train(worker.network(), few, recipe, seed=np.int64(3), folder=tmp_path, resume=resume))) == 1


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_a_seed_that_is_none_is_refused(few, seed):
    with pytest.raises(ValueError, match=r"seed=.*; allowed: an integer, 0 or more"):
        list(train(worker.network(), few, FAST, seed=seed))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_input_that_is_not_finite_is_not_blamed_on_a_layer(few, bad):
    images = few._replace(train_inputs=few.train_inputs.float())
    images.train_inputs[3, 0, 0, 0] = bad
    with pytest.raises(ValueError, match=r"train_inputs hold 1 NaN or infinite values of 307200; allowed: finite ones"):
        list(train(worker.network(), images, FAST))


def test_a_batch_that_is_not_finite_is_not_blamed_on_a_layer(few, monkeypatch):
    monkeypatch.setattr(data, "normalizer", lambda examples: lambda inputs: inputs.float() / 0)
    with pytest.raises(FloatingPointError, match=r"at step 0 of epoch 1, from inputs with \d+ NaN or infinite values$"):
        list(train(worker.network(), few, FAST))


def test_without_a_folder_ctrl_c_stops_at_once(few, monkeypatch):
    """As in a dry run: an update may take minutes, and there is nothing to save."""

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(training, "mixed_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(train(worker.network(), few, FAST))
