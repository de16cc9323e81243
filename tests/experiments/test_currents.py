"""The moments are scipy's, and a network that adds behind its neurons is found not to be binary."""

import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

from atif_lib import data
from atif_lib.experiments.currents import (
    current_gradients,
    current_moments,
    gradient_facts,
    other_values,
    spike_facts,
)
from atif_lib.networks import ACTIVATIONS, NETWORKS, Network, neurons_of
from atif_lib.neurons import IF, ATIFu


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


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_of_currents_are_those_of_the_recursion(fused, uncompiled):
    """The readout counts spikes and weighs the counts; before it stands chapter 10's loop over t."""
    torch.manual_seed(0)
    network = Network(nn.Identity(), nn.Sequential(ATIFu(step_mode="m")), 3, 2, 4)
    neuron = neurons_of(network)["blocks.0"]
    neuron.fused = fused
    x, labels = torch.rand(5, 3, 2, 2), torch.randint(2, (5,))
    found = current_gradients(network, x, labels)["blocks.0"]
    assert neuron.fused is fused
    current = x.expand(4, *x.shape)
    spikes, v = [], torch.zeros_like(x)
    slopes = []
    for t in range(4):
        h = v + current[t]
        spikes.append((h >= 1).float())
        s = torch.sigmoid(4 * (h - 1))
        slopes.append(4 * s * (1 - s))
        v = h - spikes[-1]
    z = torch.stack(spikes).requires_grad_()
    loss = torch.nn.functional.cross_entropy(network.readout(z.sum(0).mean((2, 3))), labels)
    (g,) = torch.autograd.grad(loss, z)
    a, expected = torch.zeros_like(x), []
    for t in reversed(range(4)):
        a = a + (g[t] - a) * slopes[t]
        expected.append(a.norm().item())
    assert found == pytest.approx(expected[::-1], rel=1e-5)


def test_gradients_of_a_network_of_relus_have_one_timestep_and_shrink_with_the_weights():
    torch.manual_seed(0)
    network = NETWORKS["small-plain"](ACTIVATIONS["relu"])
    x, labels = torch.randn(4, 3, 32, 32), torch.randint(10, (4,))
    whole = current_gradients(network, x, labels)
    with torch.no_grad():
        network.readout.weight.zero_()
    assert {len(norms) for norms in whole.values()} == {1}
    assert all(norm > 0 for (norm,) in whole.values())
    assert all(norm == 0 for (norm,) in current_gradients(network, x, labels).values())


def test_asking_for_gradients_changes_nothing_of_a_network_but_puts_it_to_rest():
    torch.manual_seed(0)
    network = NETWORKS["small"](ACTIVATIONS["atif-u"]).eval()
    x, labels = torch.randn(4, 3, 32, 32), torch.randint(10, (4,))
    network(x[:2])  # membranes of another batch
    before = copy.deepcopy(network.state_dict())
    first = current_gradients(network, x, labels)
    assert_close(dict(network.state_dict()), dict(before), rtol=0, atol=0)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert current_gradients(network, x, labels) == first


def test_the_record_s_gradients_are_a_number_for_each_layer_and_timestep():
    found = gradient_facts(1, ("small",))
    assert [len(norms) for norms in found["small_if_gradients"]] == [4] * 4
    assert [len(norms) for norms in found["small_relu_gradients"]] == [1] * 4
    for activation in ("relu", "if"):
        first, *_, last = (sum(n**2 for n in norms) ** 0.5 for norms in found[f"small_{activation}_gradients"])
        assert found[f"small_{activation}_first_over_last"] == pytest.approx(first / last, rel=1e-5)
