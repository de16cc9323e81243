"""However a network is executed, outputs, gradients and what it remembers are the same."""

import copy
import io
import warnings
from functools import partial

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn
from torch.testing import assert_close

from atif_lib.experiments.bench import TrainingStep, peak_memory
from atif_lib.experiments.one_neuron import Eq11
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, Residual, neurons_of, resnet
from atif_lib.neurons.atif import ATIFu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.training import execution
from atif_lib.training.execution import compile_neurons, has_bfloat16, recipe_here, save_memory, sync_norms
from atif_lib.training.recipe import Recipe

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained_once(network):
    functional.reset_net(network)
    logits = network(X)
    logits.square().sum().backward()
    return logits.detach()


def pair(network="resnet8", activation="atif-u"):
    torch.manual_seed(0)
    plain = NETWORKS[network](ACTIVATIONS[activation])
    kept = copy.deepcopy(plain)
    save_memory(kept)
    return plain, kept


PAIRS = [
    (network, activation)
    for network in ("resnet8", "resnet8-add", "resnet8-iand")
    for activation in ("relu", "if", "atif-u", "atif-nu", "atif-u-half", "atif-u-charge")
    if (network, activation) != ("resnet8-iand", "atif-u-charge")  # which is refused
]


@pytest.mark.parametrize(("network", "activation"), PAIRS)
def test_outputs_gradients_and_running_means_are_the_same_to_the_last_bit(network, activation):
    plain, kept = pair(network, activation)
    assert torch.equal(trained_once(plain), trained_once(kept))
    for (name, one), (other_name, other) in zip(plain.named_parameters(), kept.named_parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), (name, other_name)
    for one, other in zip(plain.buffers(), kept.buffers(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(neurons_of(plain).values(), neurons_of(kept).values(), strict=True):
        assert torch.equal(one.v, other.v)
        assert one.t == other.t == 4


def test_weights_pass_from_one_to_the_other():
    plain, kept = pair()
    trained_once(plain)
    assert list(plain.state_dict()) == list(kept.state_dict())
    kept.load_state_dict(plain.state_dict())
    plain.eval(), kept.eval()
    assert torch.equal(trained_once(plain), trained_once(kept))


def test_a_convolution_is_computed_once(monkeypatch):
    calls = []
    forward = nn.functional.batch_norm
    monkeypatch.setattr(nn.functional, "batch_norm", lambda *a, **k: calls.append("norm") or forward(*a, **k))
    plain, kept = pair()
    counted = {}
    for name, network in (("plain", plain), ("kept", kept)):
        calls.clear()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            trained_once(network)
        events = [e.name for e in profile.events()]
        counted[name] = (events.count("aten::mkldnn_convolution") or events.count("aten::convolution"), len(calls))
    assert counted["kept"][0] == counted["plain"][0] > 0
    assert counted["kept"][1] > counted["plain"][1], "norms are computed again"


def test_a_deep_network_needs_less_memory(monkeypatch):
    monkeypatch.setitem(NETWORKS, "deep", partial(resnet, [8], 6))
    peaks = [
        peak_memory(TrainingStep(case, "deep", 4, 4, torch.device("cpu"), compiled=False))
        for case in ("ours", "ours-compact")
    ]
    assert peaks[1] < 0.7 * peaks[0]


def test_a_network_without_blocks_and_one_that_saves_already_are_refused():
    with pytest.raises(ValueError, match="allowed: one with residual blocks"):
        save_memory(NETWORKS["small"](ACTIVATIONS["if"]))
    _, kept = pair()
    with pytest.raises(ValueError, match=r"saves memory already; allowed: one call of save_memory"):
        save_memory(kept)


class Graded(ATIFu):
    """A reader's neuron, whose spikes are worth 2."""

    def multi_step_forward(self, x_seq):
        return 2 * super().multi_step_forward(x_seq)


@pytest.mark.parametrize(
    "make",
    [
        Graded,
        lambda timesteps, step_mode: neuron.ILIFNode(step_mode=step_mode),
        lambda timesteps, step_mode: neuron.TernaryIFNode(v_threshold=0.5, step_mode=step_mode),
    ],
    ids=["a reader's own", "counts", "minus one too"],
)
def test_a_neuron_may_send_what_is_neither_zero_nor_one(make):
    torch.manual_seed(0)
    plain = NETWORKS["resnet8"](lambda channels, timesteps: make(timesteps, step_mode="m"))
    kept = copy.deepcopy(plain)
    save_memory(kept)
    assert torch.equal(trained_once(plain), trained_once(kept))
    for one, other in zip(plain.parameters(), kept.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


# --- fused ---


def test_neurons_of_several_slopes_are_compiled_in_one_process():
    for slope in (4.0, 2.0, 8.0):
        x = torch.randn(4, 5, 3, requires_grad=True)
        plain, fused = (ATIFu(slope=slope, step_mode="m") for _ in range(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # where there is no compiler
            compile_neurons(fused)
        gradients = [torch.autograd.grad(net(x).sum(), x)[0] for net in (plain, fused)]
        assert_close(*gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learn", [True, False])
def test_a_compiled_quantized_relu_has_the_same_rates_and_gradients(learn, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.linspace(-1, 2, 1201), torch.randn(800, generator=generator)]).view(1, 1, -1).to(dtype)
    found = []
    for compiled in (False, True):
        layer = QuantizedReLU(4, 0.7, v0=0.25, learn=learn)
        if compiled:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # where there is no compiler
                compile_neurons(layer)
        inputs = x.clone().requires_grad_()
        rates = layer(inputs)
        (rates * inputs.detach()).float().sum().backward()
        found.append((rates.detach(), inputs.grad, *(p.grad for p in layer.parameters())))
    assert torch.equal(found[0][0], found[1][0])
    assert_close(found[0][1:], found[1][1:])
    assert layer(x).unique().numel() == 5


class Leaky(ATIFu):
    """A reader's neuron, which forgets half of its membrane."""

    def integrate_and_fire(self, x_seq, thresholds, v):
        spikes = []
        for x, threshold in zip(x_seq, thresholds, strict=False):
            h = 0.5 * v + x
            spikes.append(self._fire(h, threshold))
            v = h - threshold * spikes[-1]
        return spikes, [v]


def arc_tangent():
    neuron = ATIFu(step_mode="m")
    neuron.surrogate_function = surrogate.ATan()
    return neuron


@pytest.mark.parametrize("make", [partial(Leaky, step_mode="m"), partial(Eq11, step_mode="m"), arc_tangent])
def test_a_neuron_with_equations_of_its_own_is_left_as_it_is(make):
    x = 0.6 * torch.ones(4, 2, 3)
    found = []
    for compiled in (False, True):
        neuron = make()
        if compiled:
            compile_neurons(neuron)
        spikes = neuron(x)
        spikes.sum().backward()
        found.append((spikes.detach(), neuron.log_threshold.grad))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_surrogate_that_is_replaced_after_compiling_is_used():
    neuron = ATIFu(step_mode="m")
    neuron.fused = True
    assert neuron.fused
    neuron.surrogate_function = surrogate.ATan()
    assert not neuron.fused


def test_without_a_compiler_the_neurons_run_as_they_are(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no compiler is here\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    network = NETWORKS["small"](ACTIVATIONS["atif-u"])
    with pytest.warns(UserWarning, match=r"torch.compile fails here \(no compiler is here\)"):
        compile_neurons(network)
    assert network(X).isfinite().all()


# --- precision ---


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_taken_where_the_device_has_it(monkeypatch, has):
    """Imitated, a step of VGG-16 took eleven times as long as in float32 on a processor with AVX2 alone."""
    monkeypatch.setattr(execution, "accelerator", lambda: "cpu")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    low, full = Recipe(precision="bf16-mixed"), Recipe()
    assert recipe_here(low) == (low if has else full)
    assert recipe_here(full) is full


def test_a_gpu_that_imitates_bfloat16_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not has_bfloat16(torch.device("cuda"))
    assert has_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("place", ["last", "shortcut"])
def test_a_block_that_ends_in_no_neuron_is_not_kept_as_bytes(place):
    torch.manual_seed(0)
    plain = NETWORKS["resnet8-iand"](ACTIVATIONS["atif-u"])
    if place == "last":
        plain.blocks[1].last = nn.ReLU()
    else:
        plain.blocks[2].shortcut[-1] = nn.ReLU()
    kept = copy.deepcopy(plain)
    save_memory(kept)
    assert torch.equal(trained_once(plain), trained_once(kept))
    for (name, one), other in zip(plain.named_parameters(), kept.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


def grouped(network):
    """Norms without buffers, by which SpikingJelly's checkpoints know a block."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, own = name.rpartition(".")
            network.get_submodule(parent).register_module(own, nn.GroupNorm(1, module.num_features))
    return network


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: saved_and_loaded(net)], ids=["deepcopy", "torch.save"])
def test_a_copy_of_a_network_that_saves_memory_runs_its_own_blocks(copied):
    torch.manual_seed(0)
    kept = grouped(NETWORKS["resnet8"](ACTIVATIONS["atif-u"]))
    save_memory(kept)
    twin = copied(kept)
    same, other = (trained_once(network) for network in (kept, twin))
    assert torch.equal(same, other)
    for (name, one), two in zip(kept.named_parameters(), twin.parameters(), strict=True):
        assert two is not one
        assert torch.equal(one.grad, two.grad), name
    with torch.no_grad():
        for parameter in twin.blocks.parameters():
            parameter.zero_()
    assert not torch.equal(trained_once(twin), same)
    assert torch.equal(trained_once(kept), same)


def saved_and_loaded(network):
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Halves(nn.Module):
    """A block that makes of spikes what is neither 0 nor 1."""

    def forward(self, z):
        return z / 2


@pytest.mark.parametrize("before", [Halves, lambda: Residual(16, 16, 1, lambda c: ATIFu(4, step_mode="m"), "add")])
def test_what_is_no_spike_is_not_kept_as_a_byte_before_a_block_of_spikes(before):
    """Only the block itself was looked at, and its gradients were those of an input of zeros and ones."""
    torch.manual_seed(0)
    plain = NETWORKS["resnet8"](ACTIVATIONS["atif-u"])
    plain.blocks.insert(1, before())
    kept = copy.deepcopy(plain)
    save_memory(kept)
    assert torch.equal(trained_once(plain), trained_once(kept))
    for (name, one), other in zip(plain.named_parameters(), kept.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(4), layer.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm3d(4)]
)
def test_a_norm_that_would_stay_local_is_refused_in_several_processes(norm):
    network = nn.Sequential(nn.BatchNorm2d(4), norm)
    with pytest.raises(ValueError, match=r"BatchNorm.* in several processes; allowed: BatchNorm2d with weights"):
        sync_norms(network)
    assert type(network[0]) is nn.BatchNorm2d


def test_norms_are_synchronised_again_without_a_word():
    network = nn.Sequential(nn.BatchNorm2d(4))
    for _ in range(2):
        sync_norms(network)
    assert type(network[0]).__name__ == "_SyncedBatchNorm2d"
