"""Nothing asks for float64 where a network runs: Apple's GPUs (MPS) have none, and no network would train on a Mac."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from atif_lib import data
from atif_lib.experiments.contract import Context
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.networks import initialisation
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import cost, resnet8, vgg_small
from atif_lib.networks.folding import fold
from atif_lib.networks.initialisation import start_from_data, start_from_network
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.results.records import Draft
from atif_lib.training.batches import Batches
from atif_lib.training.evaluation import accuracy_over_time, confusion, evaluate
from atif_lib.training.layer_errors import layer_errors
from atif_lib.training.loop import train
from atif_lib.training.recipe import Recipe


class WithoutFloat64(TorchDispatchMode):
    """A device that has no float64: torch's operators may not return it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(isinstance(value, torch.Tensor) and value.dtype == torch.float64 for value in tree_leaves(out)):
            raise TypeError(f"{func}: Cannot convert a MPS Tensor to float64 dtype")
        return out


@pytest.fixture(autouse=True)
def thresholds_are_fitted_on_the_cpu(monkeypatch):
    """Exact quantizers are float64: `_best` takes its currents to the CPU, where that is allowed."""
    taken = []
    to_cpu, density, best = torch.Tensor.cpu, initialisation.empirical, initialisation.best_uniform

    def cpu(tensor):
        taken.append(True)
        return to_cpu(tensor)

    def empirical(currents):
        assert taken, "currents of a device without float64 went into an exact quantizer"
        taken.clear()
        with _disable_current_modes():
            return density(currents)

    def best_uniform(*arguments):
        with _disable_current_modes():
            return SimpleNamespace(levels=best(*arguments).levels.tolist())

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(initialisation, "empirical", empirical)
    monkeypatch.setattr(initialisation, "best_uniform", best_uniform)


@pytest.fixture
def few(digits):
    return digits.thinned(24)


def features(digits):
    """Sounds are float16, [N, 1, frames, coefficients]."""
    some = digits.thinned(24)
    return some._replace(
        train_inputs=some.train_inputs[:, :1, :, :10].half() / 8, test_inputs=some.test_inputs[:, :1, :, :10].half() / 8
    )


@pytest.mark.parametrize("kind", ["images", "features"])
def test_inputs_are_normalized(few, kind):
    examples = few if kind == "images" else features(few)
    expected = data.normalizer(examples)(examples.test_inputs)
    with WithoutFloat64():
        found = data.normalizer(examples)(examples.test_inputs)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("activation", ["relu", "atif-u", "atif-nu", "atif-u-all", "quantized-half"])
def test_networks_are_tested(few, activation):
    torch.manual_seed(0)
    network = vgg_small(ACTIVATIONS[activation])
    with WithoutFloat64():
        metrics = evaluate(network, few)
        assert len(accuracy_over_time(network, few)) == network.timesteps
        assert confusion(network, few).sum() == 24
        cost(network, (3, 32, 32))
    assert ("theta" in metrics) == activation.startswith("atif")


RECIPES = {
    "fast": Recipe(1, 8, augment=("crop", "flip", "autoaugment", "cutout"), label_smoothing=0.1, clip=1.0),
    "paper": Recipe(1, 8, schedule="step", augment=("resize", "flip"), mix="mixup"),
    "cutmix": Recipe(1, 8, mix="cutmix"),
}


@pytest.mark.parametrize("activation", ["relu", "atif-u-all", "atif-nu", "atif-u-rate"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_networks_train(few, activation, recipe, tmp_path):
    torch.manual_seed(0)
    network = resnet8(ACTIVATIONS[activation])
    with WithoutFloat64():
        (metrics,) = train(network, few, RECIPES[recipe], folder=tmp_path)
    assert np.isfinite(metrics["train_loss"])


def test_sounds_train(few):
    network = vgg_small(ACTIVATIONS["atif-u"], in_channels=1)
    with WithoutFloat64():
        (metrics,) = train(network, features(few), Recipe(1, 8, augment=("shift", "mask")))
    assert np.isfinite(metrics["train_loss"])


def test_quantized_networks_are_started_from_data(few):
    network = vgg_small(ACTIVATIONS["quantized-half"])
    with WithoutFloat64():
        start_from_data(network, Batches(few, Recipe(1, 8), 0).draw(0, 0)[0])


@pytest.mark.parametrize("activation", ["atif-u-channels", "atif-nu", "atif-u-charge"])
def test_networks_are_started_from_data_folded_and_diagnosed(few, activation):
    torch.manual_seed(0)
    network = vgg_small(ACTIVATIONS[activation])
    with WithoutFloat64():
        start_from_data(network, Batches(few, Recipe(1, 8), 0).draw(0, 0)[0])
        layer_errors(network, few)
        fold(network)
        copy.deepcopy(network)


@pytest.mark.parametrize(
    ("first", "second"), [("relu", "quantized"), ("quantized", "atif-u"), ("quantized", "atif-nu")]
)
def test_networks_start_from_networks(few, first, second):
    torch.manual_seed(0)
    before, network = (resnet8(ACTIVATIONS[name]) for name in (first, second))
    with WithoutFloat64():
        start_from_network(network, before.state_dict(), Batches(few, Recipe(1, 8), 0).draw(0, 0)[0])
        metrics = list(train(network, few, Recipe(1, 8), started=True))
    assert len(metrics) == 2


@pytest.mark.parametrize("kind", [IF, ATIFu, ATIFnu])
def test_a_number_of_numpy_is_a_number(kind):
    """numpy's default is float64, so that a threshold that NumPy computed made a neuron of it."""
    neuron = kind(4, np.float64(0.7), v0=np.float64(0.5), step_mode="m")
    assert {value.dtype for value in nn.Module.state_dict(neuron).values()} == {torch.float32}
    learned = kind(4, np.float64(0.7), v0=np.float64(0.5), learn_v0=True, step_mode="m")
    assert {value.dtype for value in learned.state_dict().values()} == {torch.float32}


def test_an_experiment_runs_whole(few, tmp_path):
    experiment = NetworkExperiment("", "digits", "small", "atif-u", Recipe(1, 8), limit=16, data_start=True)
    draft = Draft()
    with WithoutFloat64():
        experiment.run(Context(draft, folder=tmp_path))
    assert draft.result["theta"] > 0
