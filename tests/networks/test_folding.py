"""A network whose spikes carry charge equals one whose spikes are binary and whose weights carry it."""

import copy

import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, neurons_of, resnet8, set_timesteps, vgg_small
from atif_lib.networks.folding import fold
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.training.execution import save_memory

KINDS = {"IF": IF, "ATIFu": ATIFu, "ATIFnu": ATIFnu}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def charged(network, kind, per_channel):
    """A network in evaluation mode, with norms and thresholds that are not those of the start."""

    def activation(channels, timesteps):
        threshold = 0.3 + torch.rand(channels if per_channel else (), dtype=torch.float64)
        node = KINDS[kind](3, threshold, charge=True, v0=0.5, step_mode="m")
        for p in node.parameters():
            p.data += 0.3 * torch.randn_like(p)
        return node

    torch.manual_seed(0)
    made = NETWORKS[network](activation, 3).double()
    made(noise(8, 3, 16, 16, seed=1))
    functional.reset_net(made)
    return made.eval()


def watch(network, x):
    """Logits, spikes of each layer of neurons, and the values that enter each weight behind the stem."""
    spikes, entering, hooks = {}, {}, []
    for name, m in network.blocks.named_modules():
        if name in neurons_of(network.blocks):
            hooks.append(m.register_forward_hook(lambda m, i, o, name=name: spikes.update({name: o != 0})))
        elif isinstance(m, nn.Conv2d | nn.Linear) or type(m).__name__ == "Charges":
            hooks.append(
                m.register_forward_hook(lambda m, i, o, n=name: entering.update({n: set(i[0].unique().tolist())}))
            )
    functional.reset_net(network)
    logits = network(x)
    for hook in hooks:
        hook.remove()
    return logits, spikes, entering


@pytest.mark.parametrize("network", ["small", "resnet8"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_folded_equals_unfolded_and_every_weight_sees_zeros_and_ones(network, kind, per_channel):
    one = charged(network, kind, per_channel)
    before = copy.deepcopy(one.state_dict())
    other = fold(one)
    x = noise(4, 3, 16, 16)
    (logits, spikes, seen), (folded, folded_spikes, folded_seen) = watch(one, x), watch(other, x)
    assert_close(folded, logits, atol=1e-10, rtol=1e-8)
    assert logits.std() > 0
    assert spikes.keys() == folded_spikes.keys()
    for name, z in spikes.items():
        assert torch.equal(z, folded_spikes[name]), name
        assert 0 < z.double().mean() < 1, name
    assert any(values - {0.0, 1.0} for values in seen.values()), "there was nothing to fold"
    assert all(values <= {0.0, 1.0} for values in folded_seen.values())
    assert not any(m.charge for m in neurons_of(other).values())
    assert all(m.charge for m in neurons_of(one).values())
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())
    assert_close(over_time(other, x), over_time(one, x))


def over_time(network, x):
    functional.reset_net(network)
    return network.over_time(x)


def test_constant_charges_cost_nothing():
    """As many parameters as before: a scale of weights that are there."""
    one = charged("small", "ATIFu", True)
    assert sum(p.numel() for p in fold(one).parameters()) == sum(p.numel() for p in one.parameters())


def test_by_hand():
    """V_th = 2: every weight behind a neuron doubles."""
    network = vgg_small(lambda channels, timesteps: IF(1, 2.0, charge=True, step_mode="m"), 1)
    assert torch.equal(fold(network).blocks[1][0].weight, 2 * network.blocks[1][0].weight)
    assert torch.equal(fold(network).readout.weight, 2 * network.readout.weight)


def test_without_charges_it_is_a_copy():
    network = vgg_small(ACTIVATIONS["atif-u"])
    other = fold(network)
    assert other is not network
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("join", ["add", "iand"])
def test_paths_that_meet_behind_the_neurons_are_refused(join):
    network = resnet8(ACTIVATIONS["atif-u"], join=join)
    fold(network)
    for node in neurons_of(network).values():
        node.charge = True  # a block with 'iand' would not be built with it
    with pytest.raises(
        ValueError, match=f"join='{join}' with charges; allowed: 'current', where paths meet as currents"
    ):
        fold(network)


def test_a_network_that_saves_memory_folds_too():
    torch.manual_seed(0)
    network = resnet8(ACTIVATIONS["atif-u-charge"])
    kept = copy.deepcopy(network)
    save_memory(kept)
    x = torch.randn(2, 3, 16, 16)
    folded = fold(kept.eval())
    assert not any(node.charge for node in neurons_of(folded).values())
    assert_close(folded(x), network.eval()(x))


def test_a_block_that_is_not_known_is_refused_where_it_meets_charges():
    network = vgg_small(ACTIVATIONS["atif-u-charge"])
    network.blocks.insert(1, nn.Identity())
    with pytest.raises(ValueError, match="block of type Identity; allowed: Synapses, Residual, a max pool, a neuron"):
        fold(network)


@pytest.mark.parametrize("network", ["small", "resnet8"])
@pytest.mark.parametrize("kind", ["IF", "ATIFu"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_constant_charges_fit_another_number_of_timesteps(network, kind, per_channel):
    one = charged(network, kind, per_channel)
    other, x = fold(one), noise(4, 3, 16, 16)
    for timesteps in (8, 1):
        logits = []
        for made in (one, other):
            set_timesteps(made, timesteps)
            functional.reset_net(made)
            logits.append(made(x))
        assert_close(*logits, atol=1e-10, rtol=1e-8)
        assert logits[0].std() > 0


class Fading(IF):
    """A neuron as a reader may write it: its thresholds change with the timestep, however many there are."""

    @property
    def thresholds(self):
        return self.threshold * 0.9 ** torch.arange(self.timesteps)


@pytest.mark.parametrize(("network", "kind"), [(vgg_small, "TimedConv"), (resnet8, "TimedConv|Charges")])
def test_charges_that_change_with_the_timestep_fit_no_other_number_of_them(network, kind):
    """A convolution for each of 4 timesteps took the maps of 8 in pairs, silently."""
    made = network(lambda channels, timesteps: Fading(timesteps, 0.5, charge=True, step_mode="m")).eval()
    folded = fold(made)
    set_timesteps(made, 8)
    with pytest.raises(ValueError, match=rf"timesteps=8: ({kind}) has a weight for each of its 4 timesteps"):
        set_timesteps(folded, 8)
    assert {node.timesteps for node in neurons_of(folded).values()} == {4}
    set_timesteps(folded, 4)


def test_a_weight_that_is_computed_is_refused_behind_charges():
    network = vgg_small(ACTIVATIONS["atif-u-charge"])
    network.blocks.insert(1, layer.SeqToANNContainer(weight_norm(nn.Conv2d(16, 16, 1))))
    with pytest.raises(ValueError, match="synapses whose weight is parametrized"):
        fold(network)


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        (lambda: [nn.AvgPool2d(2)], "AvgPool2d"),
        (lambda: [nn.BatchNorm2d(16)], "BatchNorm2d"),
        (lambda: [nn.Sequential(nn.Conv2d(16, 16, 1))], "Sequential"),
        (lambda: [nn.Conv2d(16, 16, 1, groups=4)], "Conv2d with groups=4"),
        (lambda: [nn.MaxPool2d(2), nn.Conv2d(16, 16, 1)], "MaxPool2d"),
    ],
)
@pytest.mark.parametrize("in_a_block", [False, True])
def test_synapses_that_begin_with_no_convolution_of_all_channels_are_refused_behind_charges(first, shown, in_a_block):
    networks = [(resnet8 if in_a_block else vgg_small)(ACTIVATIONS[name]) for name in ("atif-u-charge", "atif-u")]
    for network in networks:
        synapses = layer.SeqToANNContainer(*first())
        if in_a_block:
            network.blocks[1].second = synapses
        else:
            network.blocks.insert(1, synapses)
    with pytest.raises(ValueError, match=rf"receive charges begin with {shown}; allowed: Conv2d with groups=1"):
        fold(networks[0])
    fold(networks[1])


def test_charges_pass_max_pools():
    torch.manual_seed(0)
    network = charged("small", "ATIFu", True)
    network.blocks.insert(3, layer.SeqToANNContainer(nn.MaxPool2d(2), nn.MaxPool2d(1)))
    x = noise(4, 3, 16, 16)
    (logits, *_), (folded, _, seen) = watch(network, x), watch(fold(network), x)
    assert_close(folded, logits, atol=1e-10, rtol=1e-8)
    assert all(values <= {0.0, 1.0} for values in seen.values())


def test_charges_of_a_neuron_inside_another_module_are_refused():
    """The spikes of such neurons in a residual block kept their charges, without a word."""
    for place in ("blocks.0", "blocks.1.first.1", "blocks.1.last"):
        network = resnet8(ACTIVATIONS["atif-u"])
        network.set_submodule(place, nn.Sequential(ATIFu(4, charge=True, step_mode="m")))
        with pytest.raises(ValueError, match="block of type Sequential; allowed: Synapses, Residual, a max pool"):
            fold(network)
