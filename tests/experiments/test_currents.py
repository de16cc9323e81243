"""The moments are scipy's, and a network that adds behind its neurons is found not to be binary."""

import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

from atif_lib import data
from atif_lib.experiments.currents import current_moments, other_values, spike_facts
from atif_lib.networks import ACTIVATIONS, NETWORKS, Network, neurons_of
from atif_lib.neurons import IF


def test_moments_are_those_of_scipy(monkeypatch, uncompiled):
    monkeypatch.setattr(data, "normalizer", lambda examples: lambda x: x)
    x = torch.distributions.Exponential(2.0).sample((70, 1, 3, 3)) - 0.1
    labels = torch.zeros(70, dtype=torch.int64)
    examples = data.Examples(x, labels, x, labels, ("a", "b"), "drawn", "drawn", "0" * 64)
    network = Network(nn.Identity(), nn.Sequential(IF(step_mode="m")), 1, 2, 4)
    neurons_of(network)["blocks.0"].fused = True
    found = current_moments(network, examples, batch_size=20)["blocks.0"]
    flat = x.flatten().double().numpy()
    assert found["sd"] == pytest.approx(flat.std(), rel=1e-5)
    assert found["mean_over_sd"] == pytest.approx(flat.mean() / flat.std(), rel=1e-5)
    assert found["skewness"] == pytest.approx(stats.skew(flat), rel=1e-5)
    assert found["excess_kurtosis"] == pytest.approx(stats.kurtosis(flat), rel=1e-4)
    assert neurons_of(network)["blocks.0"].fused


@pytest.mark.parametrize("value", [0.1, 0.3, 7.0])
def test_a_current_that_does_not_vary_has_no_shape(monkeypatch, value):
    """The sums' rounding made a skewness of −190 million of it."""
    monkeypatch.setattr(data, "normalizer", lambda examples: lambda x: x)
    x, labels = torch.full((1000, 8, 3, 3), value), torch.zeros(1000, dtype=torch.int64)
    examples = data.Examples(x, labels, x, labels, ("a", "b"), "constant", "made", "0" * 64)
    found = current_moments(Network(nn.Identity(), nn.Sequential(IF(step_mode="m")), 8, 2, 4), examples)["blocks.0"]
    assert found.pop("sd") == 0
    assert all(math.isnan(moment) for moment in found.values())


@pytest.mark.parametrize(("name", "binary"), [("resnet8", True), ("resnet8-add", False), ("resnet8-iand", True)])
def test_spikes_that_are_added_are_seen(name, binary):
    torch.manual_seed(0)
    network = NETWORKS[name](ACTIVATIONS["atif-u"])
    x = 3 * torch.randn(4, 3, 32, 32)
    assert (other_values(network, x) == 0) is binary


@pytest.mark.parametrize("training", [True, False])
def test_counting_values_changes_nothing_of_a_network_but_puts_it_to_rest(training):
    torch.manual_seed(0)
    network = NETWORKS["resnet8-add"](ACTIVATIONS["atif-u"]).train(training)
    x = 3 * torch.randn(4, 3, 32, 32)
    network(x[:2])  # membranes of another batch
    before = copy.deepcopy(network.state_dict())
    first = other_values(network, x)
    assert_close(dict(network.state_dict()), dict(before), rtol=0, atol=0)
    assert network.training == training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert other_values(network, x) == first
    network(x)


def test_the_record_s_shares_are_those_of_each_network_and_neuron():
    names = ("small", "resnet8-add")
    found = spike_facts(names)
    assert set(found) == {f"{n}_{a}_other_values" for n in names for a in ("if", "atif-u", "atif-nu")}
    assert found["small_atif-u_other_values"] == 0 < found["resnet8-add_atif-u_other_values"]
