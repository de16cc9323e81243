"""The errors of a layer are those counted by hand, and by the law of what is left in the membrane."""

import math

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, monitor, neuron
from torch import nn

from atif_lib import data
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import Network, neurons_of, resnet8, vgg_small
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.quantization.density import GAUSSIAN
from atif_lib.quantization.families import ladder
from atif_lib.quantization.uniform import split_error, staircase
from atif_lib.training.layer_errors import affine_sqnr_db, layer_errors


def examples(inputs):
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    return data.Examples(inputs, labels, inputs, labels, ("a", "b"), "by hand", "by hand", "0" * 64)


@pytest.fixture(autouse=True)
def no_normalisation(monkeypatch, request):
    if "by_hand" in request.node.name:
        monkeypatch.setattr(data, "normalizer", lambda examples: lambda x: x)


def with_norms(network, examples):
    """A network whose norms have the mean and variance of the examples, so that every layer fires."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network(data.normalizer(examples)(examples.test_inputs))
    functional.reset_net(network)
    return network


def synapses(weights):
    """A 1x1 convolution with these weights, [outputs][inputs]."""
    made = nn.Conv2d(len(weights[0]), len(weights), 1, bias=False)
    made.weight.data = torch.tensor(weights).float()[..., None, None]
    return layer.SeqToANNContainer(made)


def test_an_uneven_train_by_hand():
    """Currents of 0.75 and 0.25, V_th = 1: trains 0111 and 0001. The second layer adds the first and takes the other
    away three times: 0, 1, 1, -2, whose mean is 0, and sends two spikes, 2/4 of V_th. Another neuron gets 0111: no
    error. The signal is 0.75 squared."""
    stack = nn.Sequential(IF(step_mode="m"), synapses([[1, -3], [1, 0]]), IF(step_mode="m"))
    network = Network(nn.Identity(), stack, 2, 2, 4)
    errors = layer_errors(network, examples(torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)))
    assert errors["blocks.0"] == (0, 0, 0, 0, 0)
    assert errors["blocks.2"] == pytest.approx((0, 0, 0.5**2 / 0.75**2, 0, 0.5**2 / 0.75**2))


def test_overload_and_rounding_by_hand():
    """Constant currents 0.3 and 1.5, V_th = 1, T = 4: 0.25 and 1.0 come out."""
    network = Network(nn.Identity(), nn.Sequential(IF(step_mode="m")), 2, 2, 4)
    errors = layer_errors(network, examples(torch.tensor([0.3, 1.5]).view(1, 2, 1, 1)))["blocks.0"]
    signal = 0.3**2 + 1.5**2
    assert errors == pytest.approx((0.25 / signal, 0.05**2 / signal, 0, 0, (0.25 + 0.05**2) / signal))


def test_late_charge_by_hand():
    """0001 times 4: one spike of the four that the mean current, 1, is worth; cross terms are told."""
    stack = nn.Sequential(IF(step_mode="m"), synapses([[4.4]]), IF(step_mode="m"))
    network = Network(nn.Identity(), stack, 1, 2, 4)
    errors = layer_errors(network, examples(torch.full((1, 1, 1, 1), 0.25)))["blocks.2"]
    parts = [value / 1.1**2 for value in (0.1**2, 0, 0.75**2)]
    assert errors == pytest.approx((*parts, 2 * 0.1 * 0.75 / 1.1**2, 0.85**2 / 1.1**2))


ACTIVE = {
    "if": lambda channels, _: IF(3, 0.7, step_mode="m"),
    "atif-u": lambda channels, _: ATIFu(3, torch.linspace(0.4, 0.9, channels), v0=0.5, learn_v0=True, step_mode="m"),
    "charge": lambda channels, _: ATIFu(3, torch.linspace(0.4, 0.9, channels), v0=0.5, charge=True, step_mode="m"),
    "atif-nu": lambda channels, _: ATIFnu(3, 0.9, step_mode="m"),
    "nu, charge": lambda channels, _: ATIFnu(3, 0.9, charge=True, step_mode="m"),
}


@pytest.mark.parametrize("make", [vgg_small, resnet8])
@pytest.mark.parametrize("activation", ACTIVE)
def test_the_first_layer_s_current_is_constant_and_the_others_not(digits, make, activation, uncompiled):
    torch.manual_seed(0)
    few = digits.thinned(40)
    network = with_norms(make(ACTIVE[activation], 3), few)
    found = layer_errors(network, few, batch_size=16)
    assert list(found) == list(neurons_of(network))
    first, *others = found.values()
    assert first.unevenness == 0.0
    assert all(errors.unevenness > 1e-4 for errors in others)
    assert all(sum(errors[:4]) == pytest.approx(errors.total) for errors in found.values())
    assert all(errors.granular > 0 and errors.overload >= 0 for errors in found.values())
    assert found == layer_errors(network, few, batch_size=16), "it left something behind"
    for node in neurons_of(network).values():
        node.fused = True
    assert found == layer_errors(network, few, batch_size=16), "fused neurons have the same currents"
    assert all(node.fused for node in neurons_of(network).values())
    assert first == pytest.approx(layer_errors(network, few, batch_size=40)["blocks.0"])


@torch.no_grad()
def test_the_parts_are_those_of_the_pure_functions(digits):
    """Overload and granular error of the second layer by `staircase` and `split_error`, and the unevenness by what is
    left in the membrane: n = floor((T x + V(0)) / V_th) - floor(V(T) / V_th)."""
    torch.manual_seed(0)
    few, seen = digits.thinned(20), {}
    network = with_norms(vgg_small(ACTIVATIONS["atif-u-half"]), few)
    node = network.blocks[2]
    nn.init.constant_(node.log_threshold, math.log(0.75))
    node.register_forward_hook(lambda m, i, z: seen.update(x=i[0], z=z, v=m.v))
    errors = layer_errors(network, few)["blocks.2"]
    functional.reset_net(network)
    network(data.normalizer(few)(few.test_inputs))
    x, threshold = seen["x"].mean(0), node.thresholds[0].item()
    signal, ideal, count = x.relu(), staircase(x, threshold, 4, 0.5), seen["z"].sum(0)
    power = signal.square().mean()
    parts = split_error(signal, ideal * threshold / 4, threshold)
    assert errors.granular == pytest.approx((parts.granular / power).item(), rel=1e-3)
    assert errors.overload == pytest.approx((parts.overload / power).item(), rel=1e-3)
    left = ((seen["v"] / threshold).floor() + count).clamp(0, 4)
    assert (left == ideal).double().mean() > 0.999  # but for rounding at an edge
    assert errors.unevenness == pytest.approx(
        (((count - left) * threshold / 4).square().mean() / power).item(), rel=0.01
    )
    assert (seen["v"] < 0).any()
    assert (seen["v"] >= threshold).any()


@pytest.mark.parametrize(
    ("activation", "timesteps", "got"), [(nn.ReLU(), 1, "none"), (neuron.IFNode(step_mode="m"), 4, "IFNode")]
)
def test_other_neurons_are_refused(activation, timesteps, got):
    network = Network(nn.Identity(), nn.Sequential(activation), 2, 2, timesteps)
    with pytest.raises(ValueError, match=f"network with neurons {got}; allowed: those of atif_lib.neurons"):
        layer_errors(network, examples(torch.zeros(1, 2, 1, 1)))


def test_a_layer_without_positive_current_has_no_shares_by_hand():
    network = Network(nn.Identity(), nn.Sequential(IF(step_mode="m")), 2, 2, 4)
    errors = layer_errors(network, examples(-torch.ones(1, 2, 1, 1)))["blocks.0"]
    assert all(math.isnan(value) for value in errors)


def test_what_a_reader_monitors_sees_the_network_alone(digits):
    network = vgg_small(ACTIVATIONS["atif-u"])
    with monitor.OutputMonitor(network, ATIFu) as seen:
        layer_errors(network, digits.thinned(20), batch_size=len(digits.test_labels))
        counts = {name: len(seen[name]) for name in seen.monitored_layers}
    assert counts == dict.fromkeys(neurons_of(network), 1)


def test_the_sqnr_of_a_reader_with_gain_and_offset_by_hand():
    """Currents 0.25, 0.5, 0.75, 1 give 1, 2, 3, 4 spikes at V_th = 1: affine, without error. With 0.1 in place of
    0.25, no spike, the regression of x on n is done by numpy."""
    network = Network(nn.Identity(), nn.Sequential(IF(step_mode="m")), 1, 2, 4)
    exact = affine_sqnr_db(network, examples(torch.tensor([0.25, 0.5, 0.75, 1.0]).view(4, 1, 1, 1)))
    assert exact["blocks.0"] > 100
    x, n = np.array([0.1, 0.5, 0.75, 1.0]), np.array([0, 2, 3, 4])
    left = x - np.polyval(np.polyfit(n, x, 1), n)
    found = affine_sqnr_db(network, examples(torch.tensor(x).float().view(4, 1, 1, 1)), batch_size=3)
    assert found["blocks.0"] == pytest.approx(10 * math.log10((x**2).sum() / (left**2).sum()), abs=1e-3)


def test_every_channel_has_its_own_reader_and_the_decode_does_not_matter(digits):
    torch.manual_seed(0)
    few = digits.thinned(40)
    network = with_norms(vgg_small(lambda channels, timesteps: ATIFu(timesteps, 0.7, step_mode="m")), few)
    charged = vgg_small(lambda channels, timesteps: ATIFu(timesteps, 0.7, charge=True, step_mode="m"))
    charged.load_state_dict(network.state_dict())
    found = affine_sqnr_db(network, few)
    assert list(found) == list(neurons_of(network))
    assert affine_sqnr_db(charged, few)["blocks.0"] == found["blocks.0"], "the first layer's currents are the same"
    errors = layer_errors(network, few)
    assert all(found[name] > -10 * math.log10(errors[name].total) for name in found), "a better reader than its decode"


def test_a_gaussian_current_has_the_sqnr_of_the_ladder(monkeypatch):
    monkeypatch.setattr(data, "normalizer", lambda examples: lambda x: x)
    x = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(40_000) + 0.5) / 40_000).view(400, 1, 10, 10)
    best = ladder(GAUSSIAN, 4)["uniform, affine decode"]
    neuron = IF(4, float(best.transitions[-1]), step_mode="m")
    network = Network(nn.Identity(), nn.Sequential(neuron), 1, 2, 4)
    assert affine_sqnr_db(network, examples(x))["blocks.0"] == pytest.approx(best.sqnr_db, abs=0.02)
