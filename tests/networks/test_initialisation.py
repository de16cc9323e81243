"""Thresholds start at the optimum of the density that they see."""

import copy
from functools import partial

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn
from torch.nn.utils import prune
from torch.testing import assert_close

from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, Network, cost, neurons_of, resnet, resnet8, vgg, vgg_small
from atif_lib.networks.initialisation import estimate_norms, scale_from_data, start_from_data, start_from_network
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.quantization.density import GAUSSIAN, LAPLACE, empirical, sqnr
from atif_lib.quantization.families import best_uniform, ladder
from atif_lib.training.execution import save_memory

VGG_PLAIN = [8, "pool", 8]


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_layer(activation, timesteps=4, channels=2):
    """The input itself is the current of the only neurons."""
    return Network(nn.Identity(), nn.Sequential(activation), channels, 10, timesteps)


@pytest.mark.parametrize("timesteps", [1, 4, 8])
@pytest.mark.parametrize("density", [GAUSSIAN, LAPLACE])
def test_the_best_uniform_staircase_is_that_of_another_search(timesteps, density):
    for v0 in (0.0, 0.5):
        found = best_uniform(density, timesteps, v0)
        around = torch.linspace(0.7, 1.4, 701, dtype=torch.float64).unsqueeze(1) * found.levels
        shift = (1 - v0 / torch.arange(1, timesteps + 1, dtype=torch.float64)) if v0 else 1.0
        assert found.sqnr_db == pytest.approx(sqnr(density, around * shift, around).max().item(), abs=1e-5)
    assert best_uniform(density, timesteps, 0.3).sqnr_db > best_uniform(density, timesteps, 0.0).sqnr_db


# V_th / sigma at T = 4, of atif_lib.quantization's exact integral: 1.731 from V(0) = 0, 2.135 from a half step
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
    assert changed == {f"{n}.log_threshold" for n in neurons_of(network)}
    assert network.training
    again = copy.deepcopy(network)
    start_from_data(again, x)  # a fixed point: its own spikes are those that it was fitted to
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in network.state_dict().items())
    for node in neurons_of(again).values():  # the start before does not matter
        nn.init.constant_(node.log_threshold, 1.0)
    start_from_data(again.eval(), x)
    assert not again.training
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in network.state_dict().items())
    assert network(x).isfinite().all()  # at rest


def test_every_layer_s_threshold_is_the_best_for_its_mean_current():
    torch.manual_seed(0)
    network, x, currents = vgg_small(ACTIVATIONS["atif-u-half"]), noise(16, 3, 32, 32), {}
    start_from_data(network, x)
    for name, node in neurons_of(network).items():
        node.register_forward_hook(lambda m, i, o, name=name: currents.update({name: i[0].mean(0)}))
    network(x)

    def noise_at(current, threshold):
        node = ATIFu(threshold=threshold.item(), v0=0.5, step_mode="m")
        return (node.decode(node(current.expand(4, *current.shape))) - current.relu()).square().mean().item()

    for name, node in neurons_of(network).items():
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
        (neuron.IFNode(step_mode="m"), 4, "IFNode"),
    ],
)
def test_activations_whose_thresholds_it_cannot_set_are_refused(activation, timesteps, got):
    with pytest.raises(ValueError, match=f"network with activations {got}; allowed: IF, ATIFu"):
        start_from_data(one_layer(activation, timesteps), noise(2, 2, 4, 4))


def test_the_neurons_are_at_rest_before_and_behind():
    network = vgg_small(ACTIVATIONS["atif-u"])
    network(noise(2, 3, 16, 16))  # leaves membranes
    start_from_data(network, noise(4, 3, 16, 16))
    assert {m.t for m in neurons_of(network).values()} == {0}
    functional.reset_net(network)


# --- from another network ---


def relu_network(name):
    """A ReLU network whose norms have weights, biases and running means of their own."""
    torch.manual_seed(0)
    network = NETWORKS[name](ACTIVATIONS["relu"], 1)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.3)
    network(noise(64, 3, 16, 16))
    return network


def twin(name, activation, weights, x, timesteps=4):
    network = NETWORKS[name](ACTIVATIONS[activation], timesteps)
    start_from_network(network, weights, x)
    estimate_norms(network, [x])
    return network.eval()


class Scaled(nn.Module):
    """What is left of a quantized ReLU where rounding and clipping are left out: x / V_th."""

    def __init__(self, quantized):
        super().__init__()
        self.threshold = quantized.log_threshold.exp()

    def forward(self, x):
        return (x / self.threshold).relu()


def without_rounding(module):
    for name, child in module.named_children():
        if isinstance(child, QuantizedReLU):
            setattr(module, name, Scaled(child))
        else:
            without_rounding(child)


@pytest.mark.parametrize("name", ["small", "resnet8", "deep"])
def test_but_for_rounding_and_clipping_the_quantized_network_is_the_relu_network(name, monkeypatch):
    """Identity shortcuts too: two blocks of one width have one."""
    monkeypatch.setitem(NETWORKS, "deep", partial(resnet, [8, 12], 3))
    relu, x = relu_network(name), noise(16, 3, 16, 16, seed=1)
    quantized = NETWORKS[name](ACTIVATIONS["quantized"])
    start_from_network(quantized, relu.state_dict(), x)
    assert len({m.log_threshold.item() for m in quantized.modules() if isinstance(m, QuantizedReLU)}) > 3
    without_rounding(quantized)
    for m in (*relu.modules(), *quantized.modules()):
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 1e-12  # a norm then undoes a factor
    assert_close(quantized(x), relu(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [("relu", "quantized"), ("quantized", "atif-nu")])
def test_a_network_that_saves_memory_starts_as_any_other(before, after):
    x = noise(4, 3, 8, 8)
    torch.manual_seed(0)
    source = resnet([4], 3, ACTIVATIONS[before]).eval()
    answers = []
    for save in (False, True):
        torch.manual_seed(1)
        network = resnet([4], 3, ACTIVATIONS[after])
        if save:
            save_memory(network)
        start_from_network(network, source.state_dict(), x)
        answers.append((network.eval()(x), network.state_dict()))
    assert_close(*answers)


def test_a_fixed_threshold_stays_and_weights_go_over_as_they_are():
    relu, x = relu_network("resnet8"), noise(16, 3, 16, 16)
    fixed = twin("resnet8", "quantized-fixed", relu.state_dict(), x)
    for name, value in relu.named_parameters():
        expected = value / 4 if name == "readout.weight" else value  # the readout counts up to 4
        assert_close(fixed.get_parameter(name), expected)
    spiking = twin("resnet8", "if", fixed.state_dict(), x, 4)
    assert {m.threshold.item() for m in neurons_of(spiking).values()} == {1.0}


@pytest.mark.parametrize(
    ("quantized", "spiking"), [("quantized", "atif-u"), ("quantized", "atif-nu"), ("quantized-fixed", "if")]
)
def test_as_spikes_the_first_layer_answers_as_the_quantized_one(quantized, spiking):
    relu, x = relu_network("resnet8"), noise(16, 3, 16, 16)
    one = twin("resnet8", quantized, relu.state_dict(), x)
    two = NETWORKS["resnet8"](ACTIVATIONS[spiking])
    start_from_network(two, one.state_dict(), x)
    rates = one.blocks[0](one.stem(x))
    spikes = two.eval().blocks[0](two.stem(x).expand(4, -1, -1, -1, -1))
    assert torch.equal(spikes.mean(0), rates)
    assert 0.05 < rates.mean() < 0.8
    for name, value in one.named_parameters():
        if "threshold" not in name:
            assert torch.equal(two.get_parameter(name), value), name
    functional.reset_net(two)


def test_norms_are_estimated_as_the_average_over_batches():
    network = vgg_small(ACTIVATIONS["relu"], 1)
    batches = [noise(8, 3, 16, 16, seed=n) + n for n in range(3)]
    currents = [network.stem[0](x) for x in batches]
    before = copy.deepcopy(dict(network.named_parameters()))
    estimate_norms(network.eval(), batches)
    assert not network.training
    assert network.stem[1].momentum == 0.1
    assert_close(network.stem[1].running_mean, torch.stack([c.mean((0, 2, 3)) for c in currents]).mean(0))
    assert_close(network.stem[1].running_var, torch.stack([c.var((0, 2, 3)) for c in currents]).mean(0))
    assert_close(dict(network.named_parameters()), before)


def test_weights_of_another_network_are_refused():
    weights = relu_network("resnet8").state_dict()
    with pytest.raises(ValueError, match=r"weights do not fit the network: .* missing"):
        start_from_network(resnet8(ACTIVATIONS["atif-u"]), weights, noise(2, 3, 16, 16))
    with pytest.raises(ValueError, match="weights do not fit the network: other too many"):
        start_from_network(resnet8(ACTIVATIONS["relu"], 1), weights | {"other": torch.ones(1)}, noise(2, 3, 16, 16))


def test_a_fixed_threshold_starts_at_its_best_too():
    node = IF(step_mode="m")
    start_from_data(one_layer(node), 0.1 * noise(100, 2, 32, 32))
    assert node.threshold.item() == pytest.approx(0.1731, rel=0.01)
    assert not list(node.parameters())


def test_weights_are_scaled_to_currents_of_unit_variance():
    torch.manual_seed(0)
    network = vgg_small(ACTIVATIONS["if"], norm=False)
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    directions = {name: nn.functional.normalize(p.flatten(), dim=0) for name, p in network.named_parameters()}
    x, spread = noise(32, 3, 32, 32), []
    scale_from_data(network, x)
    for m in network.modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(lambda m, i, output: spread.append(output.std().item()))
    functional.reset_net(network)
    network(x)
    assert spread == pytest.approx([1.0] * 4, rel=1e-3)
    for name, p in network.named_parameters():
        if name.endswith("weight") and p.dim() == 4:
            assert_close(nn.functional.normalize(p.flatten(), dim=0), directions[name], msg="only their length changes")


def test_a_network_without_norms_learns_and_fuses(uncompiled):
    torch.manual_seed(0)
    network = vgg_small(ACTIVATIONS["atif-u"], norm=False)
    x = noise(8, 3, 16, 16)
    scale_from_data(network, x)
    expected = network(x)
    for node in neurons_of(network).values():
        node.fused = True
    functional.reset_net(network)
    assert_close(network(x), expected)
    functional.reset_net(network)
    network(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_measured_currents_need_not_be_free_of_their_graph():
    x = noise(100).requires_grad_()
    assert not ladder(empirical(2 * x), 4)["uniform, affine decode"].levels.requires_grad


def test_a_weight_that_is_computed_is_not_scaled():
    network = vgg_small(ACTIVATIONS["atif-u"], norm=False)
    prune.l1_unstructured(network.stem[0], "weight", amount=0.5)
    with pytest.raises(ValueError, match="weight that is computed"):
        scale_from_data(network, noise(8, 3, 16, 16))


def test_a_threshold_is_fitted_to_every_place_of_the_maps():
    """With every n-th current of 2**23 the sample was the first column of every map, zeros and padding."""
    x = 0.1 * noise(128, 64, 32, 32)
    x[..., 0] *= 100
    node = QuantizedReLU(4)
    start_from_data(one_layer(node, channels=64), x)
    every = float(best_uniform(empirical(x.flatten()[torch.randperm(x.numel())[: 2**20]]), 4, 0.0).levels[-1])
    assert node.log_threshold.exp().item() == pytest.approx(every, rel=0.02)


@pytest.mark.parametrize("start", [start_from_data, scale_from_data])
def test_a_start_that_fails_leaves_no_hook_behind(start):
    network = vgg_small(ACTIVATIONS["atif-u"])
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RuntimeError):
        start(network, noise(4, 1, 32, 32))
    network.eval()(noise(4, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_cannot_be_scaled_where_no_spike_arrives():
    network = vgg_small(lambda channels, timesteps: IF(timesteps, 100.0), norm=False)
    with pytest.raises(ValueError, match="leave a convolution of 16 channels without input"):
        scale_from_data(network, noise(4, 3, 32, 32))


@pytest.mark.parametrize(
    ("network", "weights", "message"),
    [
        (("resnet8-add", "quantized"), ("resnet8-add", "relu"), "join='add'; allowed: 'current'"),
        (("resnet8", "atif-u-charge"), ("resnet8", "quantized"), "charge=True; allowed: charge=False"),
    ],
)
def test_what_would_not_keep_the_function_is_refused(network, weights, message):
    made, other = (NETWORKS[name](ACTIVATIONS[activation]) for name, activation in (network, weights))
    with pytest.raises(ValueError, match=message):
        start_from_network(made, other.state_dict(), noise(4, 3, 32, 32))


def test_weights_of_another_shape_are_refused_before_any_is_copied():
    made, other = (resnet8(ACTIVATIONS[a], classes=n) for a, n in (("quantized", 10), ("relu", 100)))
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(ValueError, match=r"none missing, readout.bias, readout.weight of another shape"):
        start_from_network(made, other.state_dict(), noise(4, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize("channels", [3, 4])
def test_thresholds_for_channels_are_no_thresholds_for_timesteps(channels):
    """Four channels at T = 4 would fit by their number."""
    channelwise, for_layer = (
        one_layer(ATIFu(threshold=threshold, step_mode="m"), channels=channels)
        for threshold in (torch.arange(1.0, channels + 1), 2.0)
    )
    network, x = one_layer(ATIFnu(step_mode="m"), channels=channels), noise(2, channels, 4, 4)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"weights do not fit the network: .*, blocks.0.log_steps of another shape"):
        start_from_network(network, channelwise.state_dict(), x)
    assert_close(network.state_dict(), before)
    for weights, expected in ((channelwise, torch.arange(1.0, channels + 1)), (for_layer, torch.full([channels], 2.0))):
        each = one_layer(ATIFnu(threshold=torch.ones(channels), step_mode="m"), channels=channels)
        start_from_network(each, weights.state_dict(), x)
        assert_close(each.blocks[0].p, expected * torch.tensor([1, 0.75, 0.5, 0.25]).view(4, 1))


def test_no_batch_to_estimate_norms_from_is_refused_before_anything_changes():
    network = vgg_small(ACTIVATIONS["atif-u"])
    network(noise(8, 3, 16, 16))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"batches=\[\]; allowed: one batch or more"):
        estimate_norms(network, iter([]))
    assert_close(network.state_dict(), before)
    assert network.stem[1].momentum == 0.1


@pytest.mark.parametrize("training", [True, False])
def test_an_estimate_that_is_interrupted_leaves_mode_momentum_and_neurons_as_they_were(training):
    network = vgg_small(ACTIVATIONS["atif-u"]).train(training)

    def batches():
        yield noise(8, 3, 16, 16)
        raise KeyboardInterrupt

    for interrupted, error in ((batches(), KeyboardInterrupt), ([noise(8, 3, 4, 4)], RuntimeError)):
        with pytest.raises(error):
            estimate_norms(network, interrupted)
        assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
        assert {m.training for m in network.modules()} == {training}
        assert {m.t for m in neurons_of(network).values()} == {0}


def test_a_quantized_network_without_norms_cannot_keep_the_function_and_is_refused():
    relu, quantized = (vgg(VGG_PLAIN, ACTIVATIONS[name], norm=False) for name in ("relu", "quantized"))
    before = copy.deepcopy(quantized.state_dict())
    with pytest.raises(ValueError, match="network without norms; allowed: a norm behind each convolution"):
        start_from_network(quantized, relu.state_dict(), noise(8, 3, 16, 16))
    assert all(torch.equal(value, before[name]) for name, value in quantized.state_dict().items())


def printed(channels, timesteps):
    return ATIFnu(timesteps, form="printed", step_mode="m")


def test_even_p_make_no_even_steps_in_the_printed_form_so_it_starts_from_nothing():
    network = vgg_small(printed)
    with pytest.raises(ValueError, match=r"network with activations ATIFnu; allowed: .*ATIFnu \(telescoping\)"):
        start_from_data(network, noise(8, 3, 16, 16))
    weights = vgg_small(ACTIVATIONS["quantized"]).state_dict()
    with pytest.raises(ValueError, match="ATIFnu with form='printed'; allowed: 'telescoping'"):
        start_from_network(network, weights, noise(8, 3, 16, 16))


def test_p_of_a_channel_without_a_positive_current_stay_as_they_were():
    node = ATIFnu(threshold=torch.ones(2), step_mode="m")
    with torch.no_grad():
        node.log_steps += torch.linspace(0, 1, 8).view(4, 2)
    before = node.p.detach().clone()
    current = noise(50, 2, 8, 8)
    current[:, 1] = -current[:, 1].abs()
    start_from_data(one_layer(node), current)
    assert torch.equal(node.p[:, 1], before[:, 1])
    assert_close(node.p[:, 0] / node.p[0, 0], torch.tensor([1, 0.75, 0.5, 0.25]))


@pytest.mark.parametrize(
    "use",
    [
        lambda network: estimate_norms(network, [noise(4, 3, 16, 16)]),
        lambda network: start_from_data(network, noise(4, 3, 16, 16)),
        lambda network: cost(network, (3, 16, 16)),
    ],
)
def test_a_frozen_norm_is_frozen_still(use):
    network = vgg_small(ACTIVATIONS["atif-u"])
    frozen = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    use(network)
    assert not frozen.training
    assert network.training
    assert all(m.training for m in network.modules() if m is not frozen)
