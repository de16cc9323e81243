"""Thresholds start at the optimum of the density that they see."""

import copy

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn
from torch.testing import assert_close

from atif_lib.initialisation import start_from_data
from atif_lib.limits import GAUSSIAN, LAPLACE, best_uniform, ladder
from atif_lib.networks import ACTIVATIONS, Network, neurons, resnet8, vgg_small
from atif_lib.neurons import ATIFnu, ATIFu


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_layer(activation, timesteps=4, channels=2):
    """The input itself is the current of the only neurons."""
    return Network(nn.Identity(), nn.Sequential(activation), channels, 10, timesteps)


@pytest.mark.parametrize("timesteps", [1, 4, 8])
@pytest.mark.parametrize("density", [GAUSSIAN, LAPLACE])
def test_the_best_uniform_staircase_is_that_of_the_ladder(timesteps, density):
    rungs = ladder(density, timesteps)
    for name, v0 in (("uniform", 0.0), ("uniform, half-step start", 0.5)):
        assert best_uniform(density, timesteps, v0).sqnr_db == rungs[name].sqnr_db
    assert best_uniform(density, timesteps, 0.3).sqnr_db > rungs["uniform"].sqnr_db


# V_th / sigma at T = 4, of atif_lib.quantization's exact integral: 1.731 from v(0) = 0, 2.135 from a half step
@pytest.mark.parametrize(("v0", "over_sigma"), [(0.0, 1.731), (0.5, 2.135)])
@pytest.mark.parametrize("sigma", [0.1, 3.0])
@pytest.mark.parametrize("learn_v0", [False, True])
def test_a_gaussian_current_of_known_width(v0, over_sigma, sigma, learn_v0):
    node = ATIFu(v0=v0 or (0.001 if learn_v0 else 0.0), learn_v0=learn_v0, step_mode="m")
    start_from_data(one_layer(node), sigma * noise(100, 2, 32, 32))
    assert_close(node.thresholds, torch.full((4,), over_sigma * sigma), rtol=0.01, atol=0)


def test_each_channel_gets_the_optimum_of_its_own_current():
    node = ATIFu(threshold=torch.ones(3), v0=0.5, step_mode="m")
    widths = torch.tensor([0.1, 1.0, 5.0]).view(3, 1, 1)
    start_from_data(one_layer(node, channels=3), widths * noise(100, 3, 32, 32))
    assert_close(node.thresholds[0], 2.135 * widths.flatten(), rtol=0.015, atol=0)


def test_nonuniform_thresholds_start_evenly_spaced_at_the_same_optimum():
    node = ATIFnu(step_mode="m")
    start_from_data(one_layer(node), 0.1 * noise(100, 2, 32, 32))
    assert_close(node.p, 0.1731 * torch.tensor([1, 0.75, 0.5, 0.25]), rtol=0.01, atol=0)


@pytest.mark.parametrize("make", [vgg_small, resnet8])
def test_layers_in_order_each_behind_the_new_spikes_of_those_before(make):
    torch.manual_seed(0)
    network, x = make(ACTIVATIONS["atif-u-half"]), noise(16, 3, 32, 32)
    before = copy.deepcopy(network.state_dict())
    start_from_data(network, x)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {f"{n}.log_threshold" for n in neurons(network)}
    assert network.training
    again = copy.deepcopy(network)
    start_from_data(again, x)  # a fixed point: its own spikes are those that it was fitted to
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in network.state_dict().items())
    for node in neurons(again).values():  # the start before does not matter
        nn.init.constant_(node.log_threshold, 1.0)
    start_from_data(again.eval(), x)
    assert not again.training
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in network.state_dict().items())
    assert network(x).isfinite().all()  # at rest


def test_every_layer_s_threshold_is_the_best_for_its_mean_current():
    torch.manual_seed(0)
    network, x, currents = vgg_small(ACTIVATIONS["atif-u-half"]), noise(16, 3, 32, 32), {}
    start_from_data(network, x)
    for name, node in neurons(network).items():
        node.register_forward_hook(lambda m, i, o, name=name: currents.update({name: i[0].mean(0)}))
    network(x)

    def noise_at(current, threshold):
        node = ATIFu(threshold=threshold.item(), v0=0.5, step_mode="m")
        return (node.decode(node(current.expand(4, *current.shape))) - current.relu()).square().mean().item()

    for name, node in neurons(network).items():
        best = noise_at(currents[name], node.thresholds[0])
        assert best < min(noise_at(currents[name], node.thresholds[0] * factor) for factor in (0.5, 0.8, 1.25, 2)), name


def test_a_channel_without_current_keeps_its_threshold():
    node = ATIFu(threshold=torch.tensor([0.7, 0.7]), step_mode="m")
    start_from_data(one_layer(node), noise(100, 2, 32, 32) * torch.tensor([0.0, 1.0]).view(2, 1, 1))
    assert node.thresholds[0, 0].item() == pytest.approx(0.7)
    assert node.thresholds[0, 1].item() == pytest.approx(1.731, rel=0.015)


@pytest.mark.parametrize(
    ("activation", "timesteps", "got"),
    [
        (nn.ReLU(), 1, "none"),
        (ACTIVATIONS["if"](2), 4, "IF"),
        (neuron.IFNode(step_mode="m"), 4, "IFNode"),
    ],
)
def test_without_learned_thresholds_it_says_so(activation, timesteps, got):
    with pytest.raises(ValueError, match=f"network must have ATIFu or ATIFnu neurons alone, got {got}"):
        start_from_data(one_layer(activation, timesteps), noise(2, 2, 4, 4))


def test_the_neurons_are_at_rest_before_and_behind():
    network = vgg_small(ACTIVATIONS["atif-u"])
    network(noise(2, 3, 16, 16))  # leaves membranes
    start_from_data(network, noise(4, 3, 16, 16))
    assert {m.t for m in neurons(network).values()} == {0}
    functional.reset_net(network)
