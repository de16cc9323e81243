"""A fused neuron, with the norms before it, is the neuron: same spikes, same gradients, same running means."""

import copy
import warnings
from functools import partial

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import nn
from torch.testing import assert_close

from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, Layers, Synapses, neurons_of, respond, unfused
from atif_lib.neurons import fused
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.training.execution import compile_neurons

KINDS = {
    "IF": lambda **o: IF(3, 0.3, step_mode="m", **o),
    "ATIFu": lambda **o: ATIFu(3, 0.3, step_mode="m", **o),
    "ATIFu-channels": lambda **o: ATIFu(3, torch.linspace(0.2, 0.5, 6), step_mode="m", **o),
    "ATIFnu": lambda **o: ATIFnu(3, 0.4, step_mode="m", **o),
    "ATIFnu-channels": lambda **o: ATIFnu(3, torch.linspace(0.3, 0.5, 6), step_mode="m", **o),
}
OPTIONS = {
    "plain": {},
    "absolute": {"surrogate": "absolute", "slope": 2.0},
    "detached": {"detach_reset": True},
    "charge": {"charge": True},
    "start": {"v0": 0.3, "learn_v0": True},
    "all": {"surrogate": "absolute", "detach_reset": True, "charge": True, "v0": 0.3, "learn_v0": True},
}


@pytest.fixture
def compiles():
    try:
        torch.compile(lambda x: x + 1)(torch.ones(1))
    except RuntimeError as error:
        pytest.skip(f"torch.compile does not work here: {error}")


class Meeting(nn.Module):
    """Paths that meet at a neuron: through a convolution and its norm, and, where asked, past it."""

    def __init__(self, neuron, paths):
        super().__init__()
        shortcut = {1: None, "identity": Layers(), "norm": Layers(Synapses(6, 6, kernel=1))}[paths]
        self.synapses, self.shortcut, self.neuron = Synapses(6, 6), shortcut, neuron

    def forward(self, z):
        paths = [(self.synapses, z)]
        return respond(self.neuron, *paths, *([(self.shortcut, z)] if self.shortcut is not None else []))


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answer(network, x):
    functional.reset_net(network)
    x = x.clone().requires_grad_()
    out = network(x)
    out.backward(noise(*out.shape, seed=9).to(out.dtype))
    gradients = {name: p.grad for name, p in network.named_parameters()}
    network.zero_grad()
    return out.detach(), x.grad, gradients


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_spikes_gradients_and_running_means_are_those_of_the_plain_neuron(kind, options, uncompiled):
    for paths in (1, "identity", "norm"):
        same_neuron(kind, options, paths)


@pytest.mark.parametrize(("kind", "paths"), [("ATIFu", "norm"), ("ATIFnu-channels", 1)])
def test_compiled_kernels_are_the_neuron_with_all_its_options(kind, paths, compiles):
    same_neuron(kind, "all", paths)


def same_neuron(kind, options, paths):
    torch.manual_seed(0)
    plain = Meeting(KINDS[kind](**OPTIONS[options]), paths).double()
    plain.synapses[1].weight.data.uniform_(0.5, 1.5)
    kernel = copy.deepcopy(plain)
    kernel.neuron.fused = True
    for training in (True, False):
        z = (noise(3, 2, 6, 4, 5) > 0).double()
        (one, g_one, gs_one), (two, g_two, gs_two) = (answer(n.train(training), z) for n in (plain, kernel))
        assert torch.equal(one, two)
        assert 0.02 < (one != 0).double().mean() < 0.95
        assert_close(g_two, g_one)
        assert_close(gs_two, gs_one)
    assert_close(dict(kernel.named_buffers()), dict(plain.named_buffers()))


def test_the_gradient_by_hand_is_the_derivative_where_the_step_is_smooth(uncompiled):
    """T = 1: dz/dx is the surrogate, 4 / V s (1 - s) with s the sigmoid of 4 (x / V - 1)."""
    neuron = ATIFu(1, 0.5, step_mode="m")
    neuron.fused = True
    x = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64).view(1, 3, 1).requires_grad_()
    neuron(x).sum().backward()
    s = (4 * (x.detach() / 0.5 - 1)).sigmoid()
    assert_close(x.grad, 8 * s * (1 - s))
    assert_close(neuron.log_threshold.grad.double(), -(8 * s * (1 - s) * x.detach()).sum())


@pytest.mark.parametrize("network", ["small", "resnet8", "resnet8-add", "resnet8-iand"])
def test_a_network_is_the_same_network(network, uncompiled):
    same_network(NETWORKS[network])


def same_network(network):
    torch.manual_seed(0)
    plain = network(ACTIVATIONS["atif-u"]).double()
    kernels = copy.deepcopy(plain)
    compile_neurons(kernels)
    x = noise(4, 3, 16, 16)
    one, two = answer(plain, x), answer(kernels, x)
    assert_close(one, two)
    assert one[0].any()
    layout = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    compile_neurons(layout)
    assert_close(answer(layout, x.to(memory_format=torch.channels_last)), one)


def test_a_compiled_network_is_the_same_network(compiles):
    same_network(NETWORKS["resnet8"])


def test_in_low_precision_it_is_nearer_to_full_precision_than_the_plain_neuron(uncompiled):
    """In one layer, where few spikes flip, over several draws."""

    def gradient(network, x, low):
        functional.reset_net(network)
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = network(x)
        out.float().backward(noise(*out.shape, seed=9).float())
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    errors = []
    for seed in range(6):
        torch.manual_seed(seed)
        network = Meeting(ATIFu(3, 0.3, step_mode="m"), 1)
        kernels = copy.deepcopy(network)
        compile_neurons(kernels)
        x = noise(3, 32, 6, 8, 8, seed=seed).float()
        exact = gradient(network, x, False)
        errors.append([(gradient(n, x, True) - exact).norm() / exact.norm() for n in (network, kernels)])
    plain, kernel = torch.tensor(errors).mean(0)
    assert kernel < plain < 0.1


def test_a_fused_neuron_is_copied_averaged_saved_and_loaded_as_any_module(tmp_path, uncompiled):
    network = nn.Sequential(ATIFu(4, step_mode="m"))
    compile_neurons(network)
    x = 2 * torch.ones(4, 2, 3)
    assert network(x).sum() == 24
    network[0].reset()
    other = copy.deepcopy(network)
    other[0].log_threshold.data.fill_(3.0)
    assert other(x).sum() == 0
    averaged = torch.optim.swa_utils.AveragedModel(network)
    averaged.update_parameters(network)
    assert averaged(x).sum() == 24
    torch.save(network, tmp_path / "network.pt")
    assert torch.load(tmp_path / "network.pt", weights_only=False)(x).sum() == 24


def test_no_limit_of_the_compiler_is_met_by_many_shapes(monkeypatch):
    """Training, test and a last small batch are a dozen shapes and more, all of them met by the same functions."""
    limit = torch._dynamo.config.recompile_limit
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    fused.compiled.cache_clear()
    neuron = ATIFu(2, step_mode="m")
    neuron.fused = True
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, accumulated_recompile_limit=limit):
        for batch in range(2, limit + 4):
            answer(neuron, noise(2, batch, 3).float())
    fused.compiled.cache_clear()


@pytest.mark.parametrize(("mean", "deviation"), [(10, 0.01), (100, 0.01), (1000, 0.1)])
def test_the_variance_of_currents_far_from_zero_is_that_of_torch(mean, deviation, uncompiled):
    maps = (mean + deviation * noise(2, 8, 3, 4, 4)).float()
    ours, theirs = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    fused._moments(ours, fused._rows(maps))
    theirs(maps.flatten(0, 1))
    assert_close(ours.running_var, theirs.running_var, rtol=1e-3, atol=0)
    assert_close(ours.running_mean, theirs.running_mean)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_inputs_without_places_pass_as_through_the_plain_neuron(shape, uncompiled):
    x = noise(*shape)
    plain, kernel = (ATIFu(4, 0.3, step_mode="m").double() for _ in range(2))
    kernel.fused = True
    for one, other in zip(answer(plain, x), answer(kernel, x), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize(("channels", "shape"), [(3, (4, 2, 5)), (1, (4, 2, 5)), (3, (4, 2))])
def test_thresholds_of_other_channels_are_refused_as_by_the_plain_neuron(channels, shape, uncompiled):
    neuron = ATIFu(4, torch.ones(channels), step_mode="m")
    for neuron.fused in (False, True):
        with pytest.raises(ValueError, match=rf"allowed: \[T, N, C={channels}, \*\]"):
            neuron(torch.ones(shape))


def test_too_many_timesteps_and_a_lone_place_are_refused(uncompiled):
    neuron = ATIFu(4, step_mode="m")
    neuron.fused = True
    with pytest.raises(ValueError, match=r"input \[3, 1, 2\]; allowed: \[T=4, N, \*\]"):
        neuron(torch.ones(3, 1, 2))
    neuron(torch.ones(4, 1, 2))
    with pytest.raises(ValueError, match=r"call functional\.reset_net"):
        neuron(torch.ones(4, 1, 2))
    meeting = Meeting(IF(1, step_mode="m"), 1)
    compile_neurons(meeting)
    assert neurons_of(meeting)["neuron"].fused
    with pytest.raises(ValueError, match="1 value a channel in training; allowed: more than 1"):
        meeting(torch.ones(1, 1, 6, 1, 1))


def test_a_third_module_of_synapses_is_not_left_out(uncompiled):
    torch.manual_seed(0)
    meeting = Meeting(IF(3, 0.3, step_mode="m"), 1)
    meeting.synapses.append(nn.AvgPool2d(2))
    z = (torch.rand(3, 2, 6, 8, 8) < 0.5).float()
    plain = meeting(z)
    functional.reset_net(meeting)
    meeting.neuron.fused = True
    assert_close(meeting(z), plain)
    assert plain.shape[-1] == 4


def test_synapses_that_compute_otherwise_are_asked(uncompiled):
    class Twice(Synapses):
        def forward(self, z):
            return 2 * super().forward(z)

    torch.manual_seed(0)
    meeting = Meeting(IF(3, 0.3, step_mode="m"), 1)
    meeting.synapses = Twice(6, 6)
    z = (torch.rand(3, 2, 6, 4, 4) < 0.5).float()
    plain = meeting(z)
    functional.reset_net(meeting)
    meeting.neuron.fused = True
    assert torch.equal(meeting(z), plain)


def test_a_gradient_in_evaluation_mode_is_that_of_its_own_forward_pass(uncompiled):
    torch.manual_seed(0)
    plain = Meeting(ATIFu(3, 0.3, step_mode="m"), 1).double().eval()
    kernel = copy.deepcopy(plain)
    kernel.neuron.fused = True
    z = (torch.rand(3, 2, 6, 4, 4) < 0.5).double()
    plain(z).sum().backward()
    out = kernel(z).sum()
    for buffer in (kernel.synapses[1].running_mean, kernel.synapses[1].running_var):
        buffer += 1  # another pass, in training mode, before the backward pass of this one
    out.backward()
    for ours, theirs in zip(kernel.parameters(), plain.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad)


def test_a_membrane_that_was_set_is_begun_with(uncompiled):
    node = IF(1, 1.0, step_mode="m")
    node.fused = True
    node.v = torch.full((1, 1), 0.9)
    assert node(torch.full((1, 1, 1), 0.5)).item() == 1
    node.reset()
    assert node.fused
    assert node(torch.full((1, 1, 1), 0.5)).item() == 0


def test_unfused_neurons_that_hold_a_membrane_run_as_they_are_written_after_a_reset_too(uncompiled):
    node = IF(1, 1.0, step_mode="m")
    node.fused = True
    with unfused(node):
        node(torch.ones(1, 1, 1))
    seen = []
    node.register_forward_pre_hook(lambda module, inputs: seen.append(module.fused))
    with unfused(node):
        node.reset()
        node(torch.ones(1, 1, 1))
    assert seen == [False]
    assert node._fused


@pytest.mark.parametrize("error", [RuntimeError("no space\nbehind"), OSError(28, "No space left on device")])
def test_a_kernel_that_does_not_compile_any_more_runs_as_it_is_written(monkeypatch, error):
    def fails_from_the_second_shape_on(function, dynamic):
        def quick(x):
            if len(x) > 1:
                raise error
            return function(x)

        return quick

    monkeypatch.setattr(torch, "compile", fails_from_the_second_shape_on)
    double = fused.compiled(lambda x: 2 * x)
    assert double(torch.ones(1)).tolist() == [2]
    with pytest.warns(UserWarning, match=r"runs uncompiled, and slower: torch.compile failed \(.*[Nn]o space"):
        assert double(torch.ones(2)).tolist() == [2, 2]
    assert double(torch.ones(3)).tolist() == [2, 2, 2]


def test_a_mistake_of_the_caller_leaves_a_kernel_compiled(monkeypatch):
    """It was taken for the compiler's, said so, and every later training was slow."""
    calls = []

    def counted(function, dynamic):
        return lambda *arguments: calls.append(1) or function(*arguments)

    monkeypatch.setattr(torch, "compile", counted)
    add = fused.compiled(lambda x, y: x + y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="must match the size"):
            add(torch.ones(2), torch.ones(3))
        add(torch.ones(2), torch.ones(2))
    assert len(calls) == 2
