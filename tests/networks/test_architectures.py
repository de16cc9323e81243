"""Between layers travel spikes; the stem is computed once; the ReLU twins are the field's own networks."""

import copy
import functools as ft
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from spikingjelly.activation_based import base, functional, layer, neuron
from torch import nn
from torch.testing import assert_close

from atif_lib.networks import architectures as networks
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import (
    NETWORKS,
    cost,
    has_charges,
    neurons_of,
    resnet,
    resnet8,
    resnet18,
    set_timesteps,
    vgg,
    vgg16,
    vgg_small,
)
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu, SafeATIFnu
from atif_lib.neurons.quantized_relu import QuantizedReLU

SPIKING = [name for name, make in ACTIVATIONS.items() if isinstance(make(1, 4), base.MemoryModule)]
CHARGED = [name for name in SPIKING if has_charges(ACTIVATIONS[name](1, 4))]
BINARY = [name for name in SPIKING if name not in CHARGED]
SYNAPSES = {
    "vgg16": 12,
    "resnet18": 19,
    "resnet18-half": 19,
    "small": 3,
    "small-plain": 3,
    "resnet8": 8,
    "resnet8-add": 8,
    "resnet8-iand": 8,
}  # the stem's aside
SPIKING_LAYERS = {"vgg16": 13, "resnet18": 17, "small": 4, "resnet8": 7}


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def build(name, activation, timesteps=4, seed=0, **options):
    """A network whose activation is one of ours by name, at any number of timesteps, or any factory."""
    torch.manual_seed(seed)
    return NETWORKS[name](ACTIVATIONS.get(activation, activation), timesteps, **options)


def synapse_inputs(network, x):
    """Distinct values that enter each convolution or linear map behind the stem, the readout aside."""
    seen = {}
    for name, module in network.blocks.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: set(i[0].unique().tolist())}))
    functional.reset_net(network)
    network(x)
    return seen


# --- spikes between layers ---


@pytest.mark.parametrize(
    ("name", "activation"),
    [(name, activation) for name in NETWORKS for activation in BINARY if name != "resnet8-add"],
)
def test_every_synapse_behind_the_stem_sees_zeros_and_ones_alone(name, activation):
    seen = synapse_inputs(build(name, activation), noise(2, 3, *[32 if name == "vgg16" else 16] * 2))
    assert len(seen) == SYNAPSES[name]
    assert all(values <= {0.0, 1.0} for values in seen.values()), seen
    assert set().union(*seen.values()) == {0.0, 1.0}, "nothing fired: the test saw nothing"


@pytest.mark.parametrize("activation", BINARY)
def test_adding_behind_the_neuron_leaves_spikes_no_longer_binary(activation):
    seen = synapse_inputs(build("resnet8-add", activation), noise(4, 3, 32, 32))
    assert 2.0 in set().union(*seen.values())


@pytest.mark.parametrize(("join", "expected"), [("current", None), ("add", [0, 1, 1, 2]), ("iand", [0, 1, 0, 0])])
def test_joins_by_hand(join, expected):
    """A block whose first path always, or never, fires; its shortcut carries what comes in."""
    block = networks.Residual(1, 1, 1, lambda channels: IF(step_mode="m"), join).eval()
    z = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1).expand(4, -1, -1, -1, -1)  # [T, N, C, H, W]
    for fires in (0.0, 1.0):
        nn.init.constant_(block.second[1].bias, 1.5 * fires)
        nn.init.zeros_(block.second[0].weight)
        functional.reset_net(block)
        out = block(z)[0].flatten().tolist()
        if join == "current":  # IF(f + z) with V_th = 1
            assert out == [float(1.5 * fires + shortcut >= 1) for shortcut in (0, 1)]
        else:
            assert out == expected[2 * int(fires) : 2 * int(fires) + 2]


def test_an_unknown_join_is_refused():
    with pytest.raises(ValueError, match="join='or'; allowed: 'current', 'add', 'iand'"):
        networks.resnet8(ACTIVATIONS["if"], join="or")


@pytest.mark.parametrize("activation", CHARGED)
def test_spikes_that_are_worth_their_charge_have_no_logical_function(activation):
    """With V_th = 3 the block would put out 1 - 3 z, times a charge: -6."""
    assert {"atif-u-charge", "atif-u-all"} <= set(CHARGED)
    message = "join='iand' of neurons with charge=True; allowed: 'current', 'add', or charge=False"
    with pytest.raises(ValueError, match=message):
        networks.Residual(1, 1, 1, lambda channels: ACTIVATIONS[activation](channels, 4), "iand")
    with pytest.raises(ValueError, match=message):
        build("resnet8-iand", activation)
    build("resnet8-add", activation)


# --- the stem ---


def repeated(network, x):
    """Logits as the coding is defined: the same input at every timestep, through stem and blocks."""
    x_seq = x.expand(network.timesteps, *x.shape)
    current = network.stem(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])
    return network.readout(network.blocks(current).sum(0).flatten(2).mean(2))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["small", "resnet8"])
@pytest.mark.parametrize("activation", ["if", "atif-u", "atif-nu"])
def test_the_stem_computed_once_equals_the_repeated_form(name, activation, training):
    once = build(name, activation).double()
    if not training:
        once(noise(8, 3, 16, 16, dtype=torch.float64, seed=1))  # norms that are not those of the start
        functional.reset_net(once)
    each = copy.deepcopy(once)
    x, results = noise(4, 3, 16, 16, dtype=torch.float64), []
    for network, forward in ((once, once), (each, lambda x: repeated(each, x))):
        network.train(training)
        x.requires_grad_().grad = None
        logits = forward(x)
        (logits * noise(4, 10, seed=2)).sum().backward()
        results.append([logits, x.grad.clone(), *(p.grad for p in network.parameters())])
    assert results[0][0].abs().sum() > 0
    for one, other in zip(*results, strict=True):
        assert_close(one, other, atol=1e-11, rtol=1e-9)
    assert_close(once.stem[1].running_mean, each.stem[1].running_mean)


# --- the ReLU twins ---


def copy_weights(source, target):
    """Copy state by order; biases of convolutions, which our networks leave to the norms, become zero."""
    values = iter(source.state_dict().values())
    convolutions = {f"{name}.bias" for name, m in target.named_modules() if isinstance(m, nn.Conv2d)}
    state = {k: torch.zeros_like(v) if k in convolutions else next(values) for k, v in target.state_dict().items()}
    target.load_state_dict(state)
    assert next(values, None) is None
    return target


def plain_vgg16():
    features = torchvision.models.vgg16_bn().features
    return nn.Sequential(features, nn.Flatten(), nn.Linear(512, 10))


def plain_resnet18():
    network = torchvision.models.resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


def plain_small():
    def block(inputs, outputs, *pool):
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), *pool]

    pools = [nn.MaxPool2d(2) for _ in range(3)]
    layers = block(3, 16, pools[0]) + block(16, 32, pools[1]) + block(32, 64, pools[2]) + block(64, 64)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


PLAIN = {"vgg16": plain_vgg16, "resnet18": plain_resnet18, "small": plain_small}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("training", [True, False])
def test_with_relu_it_is_the_plain_network(name, training):
    ours = build(name, "relu", 1)
    plain = copy_weights(ours, PLAIN[name]())
    x = noise(4, 3, 32, 32)
    for network in (ours, plain):
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        network(x)  # so that the norms' averages, used in evaluation, let the images through
        network.train(training)
    found, expected = ours(x), plain(x)
    assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (expected - expected.mean(0)).abs().max() > 0.01


# --- what is counted ---


def test_parameters_are_those_of_the_field():
    vgg16_plan = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    convolutions = sum(9 * a * b for a, b in pairwise(vgg16_plan))
    expected = {"resnet18": 11_173_962, "vgg16": convolutions + 2 * sum(vgg16_plan[1:]) + 512 * 10 + 10}
    for name, parameters in expected.items():
        size = 32 if name == "vgg16" else 4
        for activation, each in (("relu", 0), ("atif-nu", 2)):
            network = build(name, activation, 1 if activation == "relu" else 2)
            found = cost(network, (3, size, size)).parameters
            assert found == parameters + each * SPIKING_LAYERS[name], (name, activation)
            assert len(networks.neurons_of(network)) == (0 if activation == "relu" else SPIKING_LAYERS[name])


def test_multiply_accumulates_by_hand():
    stem, readout = 32 * 32 * 27 * 16, 64 * 10
    once = 16 * 16 * 9 * 16 * 32 + 8 * 8 * 9 * 32 * 64 + 4 * 4 * 9 * 64 * 64
    assert cost(build("small", "relu"), (3, 32, 32)).macs == stem + once + readout
    assert cost(build("small", "atif-u", 4), (3, 32, 32)).macs == stem + 4 * once + readout
    assert cost(build("small", "if", 7), (3, 32, 32)).macs == stem + 7 * once + readout


def test_counting_leaves_the_network_as_it_was():
    network = build("small", "atif-u")
    before = copy.deepcopy(network.state_dict())
    cost(network, (3, 32, 32))
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    network(noise(2, 3, 32, 32))  # neurons are at rest again


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 4, 4)])
def test_counting_an_input_that_does_not_fit_leaves_the_network_as_it_was(shape, training):
    """The second shape passes the first neurons and fails behind them."""
    network = build("small", "atif-u").train(training)
    with pytest.raises(RuntimeError):
        cost(network, shape)
    assert {m.training for m in network.modules()} == {training}
    assert {m.t for m in neurons_of(network).values()} == {0}


# --- timesteps ---


@pytest.mark.parametrize("activation", ["if", "atif-u", "atif-u-half"])
def test_logits_over_time_are_those_of_as_many_timesteps(activation):
    network = build("resnet8", activation, 5).double()
    network(noise(8, 3, 16, 16, dtype=torch.float64, seed=1))
    network.eval()
    x = noise(4, 3, 16, 16, dtype=torch.float64)
    functional.reset_net(network)
    over_time = network.over_time(x)
    assert over_time.shape == (5, 4, 10)
    assert not torch.equal(over_time[0], over_time[-1])
    for timesteps in (5, 1, 3, 2):
        set_timesteps(network, timesteps)
        functional.reset_net(network)
        assert_close(network(x), over_time[timesteps - 1])


class Own(ATIFu):
    """A neuron as a reader may write it, with T thresholds of its own."""

    def begin_with(self, threshold):
        self.each = torch.nn.Parameter(torch.full((self.timesteps,), float(threshold)))

    @property
    def thresholds(self):
        return self.each


@pytest.mark.parametrize("kind", [ATIFnu, SafeATIFnu, Own])
def test_thresholds_for_each_timestep_allow_no_other_number_of_them(kind):
    network = vgg_small(lambda channels, timesteps: kind(timesteps))
    set_timesteps(network, 4)
    with pytest.raises(ValueError, match=f"timesteps=5: {kind.__name__} has a threshold for each of its 4 timesteps"):
        set_timesteps(network, 5)
    assert {m.timesteps for m in networks.neurons_of(network).values()} == {4} == {network.timesteps}


@pytest.mark.parametrize("timesteps", [0, -1, 1.5])
def test_timesteps_must_be_a_positive_integer(timesteps):
    with pytest.raises(ValueError, match=f"timesteps={timesteps}; allowed: an integer, 1 or more"):
        set_timesteps(build("small", "if"), timesteps)
    with pytest.raises(ValueError, match=f"timesteps={timesteps}; allowed: an integer, 1 or more"):
        vgg_small(ACTIVATIONS["relu"], timesteps)


def test_timesteps_other_than_the_neurons_are_refused():
    with pytest.raises(ValueError, match=r"timesteps=3; allowed: that of the neurons, 4"):
        vgg_small(lambda channels, timesteps: ATIFu(4), timesteps=3)


# --- other activations, other inputs, other machines ---


@pytest.mark.parametrize("name", ["small", "resnet8"])
def test_any_node_of_spikingjelly_is_an_activation(name):
    network = build(name, lambda channels, timesteps: neuron.LIFNode(step_mode="m", v_reset=None), 3)
    x = noise(4, 3, 16, 16).requires_grad_()
    network(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(isinstance(m, neuron.LIFNode) for m in networks.neurons_of(network).values())
    assert set().union(*synapse_inputs(network, x).values()) == {0.0, 1.0}
    set_timesteps(network, 6)
    functional.reset_net(network)
    assert network.over_time(x).shape == (6, 4, 10)


def test_an_activation_may_have_a_threshold_for_each_channel():
    network = vgg_small(lambda channels, timesteps: ATIFu(2, torch.ones(channels), step_mode="m"), 2)
    assert [len(p.log_threshold) for p in networks.neurons_of(network).values()] == [16, 32, 64, 64]
    network(noise(2, 3, 16, 16)).sum().backward()


@pytest.mark.parametrize("name", ["small", "resnet8", "resnet18"])
@pytest.mark.parametrize("activation", ["relu", "atif-nu"])
def test_features_of_sounds_go_through(name, activation):
    network = build(name, activation, classes=35, in_channels=1)
    assert network(noise(2, 1, 49, 10)).shape == (2, 35)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_state_dict_round_trip(activation):
    one, other = (build("resnet8", activation, seed=seed) for seed in (0, 1))
    for module in networks.neurons_of(one).values():  # thresholds that are not those of the start
        for p in module.parameters():
            nn.init.constant_(p, -1.0)  # and a v0 of 0.27
    one(noise(4, 3, 16, 16))
    other.load_state_dict(one.state_dict())
    logits = []
    for network in (one, other):
        functional.reset_net(network.eval())
        logits.append(network(noise(4, 3, 16, 16, seed=3)))
    assert torch.equal(*logits)
    assert logits[0].std() > 0


def test_the_activations_are_what_their_names_say():
    made = {name: make(1, 4) for name, make in ACTIVATIONS.items()}
    names = ("relu", "if", "atif-u", "atif-nu", "atif-u-half", "quantized", "quantized-half")
    kinds = (nn.ReLU, IF, ATIFu, ATIFnu, ATIFu, QuantizedReLU, QuantizedReLU)
    assert [type(made[name]) for name in names] == list(kinds)
    assert (made["atif-u"].v0, made["atif-u-half"].v0) == (0.0, 0.5)
    base, same = ACTIVATIONS["atif-u"](3, 4), ("timesteps", "surrogate", "detach_reset", "step_mode")
    for name in ("half", "v0", "channels", "charge", "all"):
        better = ACTIVATIONS[f"atif-u-{name}"](3, 4)
        assert [getattr(better, option) for option in same] == [getattr(base, option) for option in same]
        assert better.surrogate_function.alpha == base.surrogate_function.alpha == 4
        assert torch.as_tensor(better.v0).item() == {"half": 0.5, "v0": 0.25, "all": 0.25}.get(name, 0.0)
        assert (better.logit_v0 is not None) == (name in ("v0", "all"))
        assert (better.thresholds.shape == (4, 3)) == (name in ("channels", "all"))
        assert better.charge == (name in ("charge", "all"))
    absolute = ACTIVATIONS["atif-u-absolute"](3, 4)
    assert (absolute.surrogate, absolute.surrogate_function.alpha, absolute.v0) == ("absolute", 1.0, 0.0)
    assert {name: m.levels for name, m in made.items() if isinstance(m, QuantizedReLU)} == {
        "quantized": 4,
        "quantized-half": 4,
        "quantized-fixed": 4,
        "quantized-8": 8,
        "quantized-16": 16,
    }
    assert ACTIVATIONS["atif-u-rate"](3, 4).surrogate == "rate"
    assert all(m.timesteps == 4 and m.step_mode == "m" for name, m in made.items() if name in SPIKING)
    other = {name: make(1, 2) for name, make in ACTIVATIONS.items() if name != "atif-nu-safe"}
    assert {other[name].timesteps for name in SPIKING if name in other} == {2}
    assert {name for name, m in other.items() if getattr(m, "levels", 2) != 2} == {"quantized-8", "quantized-16"}


@pytest.mark.parametrize("make", [vgg16, resnet18])
def test_the_paper_s_networks_take_images_of_32_pixels(make):
    assert make(ACTIVATIONS["atif-u"], classes=100)(noise(1, 3, 32, 32).expand(2, -1, -1, -1)).shape == (2, 100)


def test_a_neuron_whose_step_mode_was_forgotten_runs_all_timesteps():
    """With the default "s", T timesteps of a batch would pass for one of T times as many inputs."""
    torch.manual_seed(0)
    told = vgg_small(lambda channels, timesteps: ATIFu(threshold=0.3, step_mode="m"))
    forgotten = vgg_small(lambda channels, timesteps: ATIFu(threshold=0.3))
    forgotten.load_state_dict(told.state_dict())
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(told(x), forgotten(x))
    theirs = vgg_small(lambda channels, timesteps: neuron.IFNode())
    assert {m.step_mode for m in neurons_of(theirs).values()} == {"m"}


@pytest.mark.parametrize("plan", [[], ["pool", 8], [16, "avg"], [16, 0], [16, 2.0], [True, 4]])
def test_a_plan_of_anything_but_channels_and_pools_is_refused(plan):
    with pytest.raises(ValueError, match=r"plan=.*; allowed: channels first, then channels and 'pool'"):
        vgg(plan, ACTIVATIONS["if"])


def test_channels_and_classes_are_positive_integers_of_any_kind():
    assert vgg([np.int64(4), "pool", np.int64(8)], ACTIVATIONS["if"]).readout.in_features == 8
    for build in (lambda **sizes: vgg([4], ACTIVATIONS["if"], **sizes), ft.partial(resnet8, ACTIVATIONS["if"])):
        for name, value in (("classes", 0), ("classes", 2.5), ("in_channels", -1), ("in_channels", True)):
            with pytest.raises(ValueError, match=f"{name}={value}; allowed: an integer, 1 or more"):
                build(**{name: value})


@pytest.mark.parametrize(("widths", "depth"), [([], 1), ([0], 1), ([8], 0)])
def test_a_resnet_has_stages_channels_and_blocks(widths, depth):
    with pytest.raises(ValueError, match="allowed"):
        resnet(widths, depth, ACTIVATIONS["if"])


def test_a_layer_with_a_memory_is_no_neuron():
    nodes = ATIFu(step_mode="m"), neuron.GatedLIFNode(4, step_mode="m")
    network = nn.Sequential(nodes[0], layer.Dropout(0.5, step_mode="m"), nodes[1])
    assert list(neurons_of(network)) == ["0", "2"]


def test_a_network_without_neurons_stays_at_one_timestep():
    network = resnet8(ACTIVATIONS["relu"])
    set_timesteps(network, 4)
    assert network.spikes(torch.randn(1, 3, 16, 16)).shape == (1, 1, 64)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (QuantizedReLU(4), QuantizedReLU(8)),
        (QuantizedReLU(4), QuantizedReLU(4, v0=0.5)),
        (QuantizedReLU(4), QuantizedReLU(4, learn=False)),
        (ATIFnu(4), ATIFnu(4, form="printed")),
        (resnet8(ACTIVATIONS["if"], join="add"), resnet8(ACTIVATIONS["if"], join="iand")),
    ],
)
def test_networks_that_compute_different_things_look_different(one, other):
    """A checkpoint knows its network by how it is written."""
    assert repr(one) != repr(other)
