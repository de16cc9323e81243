"""SpikingJelly's tools, and those of torch, take our neurons as they take SpikingJelly's own."""

import copy

import pytest
import torch
from spikingjelly.activation_based import base, functional, layer, memopt, monitor, neuron, op_counter
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, neurons_of, unfused
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.training.execution import compile_neurons, save_memory

KINDS = {"IF": IF, "ATIFu": ATIFu, "ATIFnu": ATIFnu}
CURRENT = torch.randn(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5


def convolutions(node, mode="m"):
    """Two convolutions, a neuron behind each; the same weights every time."""
    torch.manual_seed(0)
    network = nn.Sequential(layer.Conv2d(1, 3, 3), node(), layer.Conv2d(3, 3, 3), node())
    functional.set_step_mode(network, mode)
    return network


def ours(**options):
    return IF(4, 0.5, **options)


def theirs(**options):
    return neuron.IFNode(0.5, None, **options)


def respond(network, mode="m"):
    functional.reset_net(network)
    return network(CURRENT) if mode == "m" else torch.stack([network(x) for x in CURRENT])


# --- monitors ---


@pytest.mark.parametrize("mode", "sm")
def test_the_membranes_are_those_of_spikingjelly(mode):
    seen = []
    for node in (ours, theirs):
        network = convolutions(node, mode)
        for module in network.modules():
            if isinstance(module, neuron.BaseNode):
                module.store_v_seq = True
        spikes = respond(network, mode)
        seen.append((spikes, network[1].v_seq, network[3].v_seq))
        assert torch.equal(network[3].v_seq[-1], network[3].v)
        functional.reset_net(network)
        assert network[1].v_seq is None
    assert seen[0][1].shape == (4, 2, 3, 6, 6)
    assert_close(*seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"v0": 0.5, "learn_v0": True, "charge": True}])
def test_membranes_are_the_same_in_both_step_modes_and_change_no_spike(kind, options):
    plain, stored, stepped = (
        KINDS[kind](4, torch.tensor([0.4, 0.5, 0.6]), store_v_seq=store, **options) for store in (False, True, True)
    )
    functional.set_step_mode(nn.ModuleList([plain, stored]), "m")
    current = CURRENT.expand(-1, -1, 3, -1, -1)
    spikes = plain(current)
    assert plain.v_seq is None
    assert torch.equal(spikes, stored(current))
    assert torch.equal(spikes, torch.stack([stepped(x) for x in current]))
    assert torch.equal(stored.v_seq, stepped.v_seq)


def test_the_rate_s_gradient_has_membranes_too():
    node = ATIFu(4, surrogate="rate", step_mode="m", store_v_seq=True)
    spikes = node(CURRENT)
    assert_close(node.v_seq, CURRENT.cumsum(0) - spikes.detach().cumsum(0))


@pytest.mark.parametrize("instance", [base.MemoryModule, neuron.BaseNode])
def test_monitors_find_the_neurons(instance):
    network = convolutions(lambda: ours(store_v_seq=True))
    with (
        monitor.OutputMonitor(network, instance) as outputs,
        monitor.AttributeMonitor("v_seq", False, network, instance) as membranes,
    ):
        spikes = respond(network)
    assert outputs.monitored_layers == membranes.monitored_layers == ["1", "3"]
    assert torch.equal(outputs["3"][0], spikes)
    assert membranes["1"][0].shape == (4, 2, 3, 6, 6)


def test_a_copy_and_a_detached_neuron_keep_the_values_of_the_membranes():
    node = ATIFu(4, step_mode="m", store_v_seq=True)
    node(CURRENT)
    assert node.v_seq.requires_grad
    twin = copy.deepcopy(node)
    assert torch.equal(twin.v_seq, node.v_seq)
    assert not twin.v_seq.requires_grad
    functional.detach_net(node)
    assert not node.v_seq.requires_grad


def test_a_fused_neuron_stores_membranes_by_the_plain_path(uncompiled):
    torch.manual_seed(0)
    plain = NETWORKS["resnet8"](ACTIVATIONS["atif-u"])
    quick = copy.deepcopy(plain)
    compile_neurons(quick)
    images = torch.randn(2, 3, 16, 16)
    for network in (plain, quick):
        for module in network.modules():
            if isinstance(module, neuron.BaseNode):
                module.store_v_seq = True
    assert torch.equal(plain(images), quick(images))
    assert torch.equal(plain.blocks[1].last.v_seq, quick.blocks[1].last.v_seq)
    quick.blocks[1].last.store_v_seq = False
    functional.reset_net(quick)
    quick(images)
    assert quick.blocks[1].last.v is None, "fused again"


# --- counters ---


def test_the_energy_is_that_of_spikingjelly_s_neuron():
    reports = [op_counter.estimate_simple_energy(convolutions(node), CURRENT) for node in (ours, theirs)]
    assert reports[0].counts == reports[1].counts
    assert reports[0].breakdown_pj == reports[1].breakdown_pj
    assert reports[0].breakdown_pj["neuron_state_memory_pj"] > 0


def test_the_energy_of_a_fused_network_is_counted_unfused(uncompiled):
    torch.manual_seed(0)
    plain = NETWORKS["small"](ACTIVATIONS["atif-u"]).eval()
    quick = copy.deepcopy(plain)
    compile_neurons(quick)
    images = torch.randn(2, 3, 16, 16)
    with unfused(quick):
        found = op_counter.estimate_simple_energy(quick, images)
    assert found.counts == op_counter.estimate_simple_energy(plain, images).counts
    assert found.breakdown_pj["neuron_state_memory_pj"] > 0


def test_operations_on_the_membrane_are_counted_as_spikingjelly_s():
    """Reads apart: IFNode stacks H for its backward pass. The relative surrogate's division is counted on top."""
    counts = []
    for node in (lambda: ours(surrogate="absolute"), theirs, ours):
        counter = op_counter.NeuronStateCounter()
        with op_counter.DispatchCounterMode([counter]), torch.no_grad():
            convolutions(node)(CURRENT)
        counts.append({k: n for k, n in counter.get_metric_counts()["Global"].items() if k != "state_reads"})
    assert counts[0] == counts[1]
    assert counts[0]["state_adds"] > 0
    assert counts[2]["state_muls"] == counts[0]["state_comps"]


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (op_counter.estimate_lemaire_energy, r"do not support IF\b"),
        (op_counter.estimate_spikesim_energy, r"\bIF\b"),
        (op_counter.estimate_neuromc_runtime_energy, "does not support"),
    ],
)
def test_profilers_that_know_only_their_own_neurons_refuse_ours(estimate, message):
    with pytest.raises(ValueError, match=message):
        estimate(convolutions(ours).eval(), CURRENT)


# --- memory ---


@pytest.mark.parametrize("kind", KINDS)
def test_memopt_gives_the_same_gradients(kind):
    plain = convolutions(lambda: KINDS[kind](4, 0.5))
    kept = memopt.optimize_memory(copy.deepcopy(plain), KINDS[kind], lambda net: respond(net), level=1)
    for network in (plain, kept):
        respond(network).sum().backward()
    assert "CheckpointWrapper" in repr(kept)
    assert neurons_of(kept).keys() == neurons_of(plain).keys()
    assert_close([p.grad for p in kept.parameters()], [p.grad for p in plain.parameters()])


@pytest.mark.parametrize("reentrant", [False, True])
def test_torch_s_own_checkpoint_is_refused_with_what_works(reentrant):
    network = convolutions(ours)
    current = CURRENT.clone().requires_grad_()
    spikes = checkpoint(network, current, use_reentrant=reentrant)
    with pytest.raises(ValueError, match=r"torch\.utils\.checkpoint.*save_memory.*memopt"):
        spikes.sum().backward()


@pytest.mark.parametrize("network", ["resnet8", "resnet8-add"])
def test_saving_memory_moves_the_running_means_of_fused_neurons_once(network, uncompiled):
    torch.manual_seed(0)
    plain = NETWORKS[network](ACTIVATIONS["atif-u"])
    compile_neurons(plain)
    kept = copy.deepcopy(plain)
    save_memory(kept)
    images = torch.randn(4, 3, 16, 16)
    for net in (plain, kept):
        net(images).square().sum().backward()
    assert plain.blocks[1].second[1].num_batches_tracked == 1
    for (name, one), other in zip(plain.named_buffers(), kept.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert_close([p.grad for p in kept.parameters()], [p.grad for p in plain.parameters()])


# --- export ---


@pytest.mark.parametrize("kind", KINDS)
def test_torch_export_keeps_the_spikes(kind):
    network = convolutions(lambda: KINDS[kind](4, 0.5)).eval()
    expected = respond(network)
    functional.reset_net(network)
    exported = torch.export.export(network, (CURRENT,))
    assert torch.equal(exported.module()(CURRENT), expected)


def test_onnx_keeps_the_spikes():
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    network = convolutions(lambda: ATIFu(4, 0.5)).eval()
    expected = respond(network)
    functional.reset_net(network)
    program = torch.onnx.export(network, (CURRENT,), dynamo=True, verbose=False)
    (name,) = [i.name for i in program.model_proto.graph.input]
    (found,) = reference.ReferenceEvaluator(program.model_proto).run(None, {name: CURRENT.numpy()})
    assert torch.equal(torch.from_numpy(found), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_nir_is_refused_with_the_reason(kind):
    """NIR's export traces by torch.fx, as this test does where nir is not installed."""
    network = nn.Sequential(nn.Linear(8, 3), KINDS[kind](4, step_mode="m"))
    with pytest.raises(NotImplementedError, match=f"{kind} has a soft reset.*NIR"):
        torch.fx.symbolic_trace(network)
    pytest.importorskip("nirtorch")
    from spikingjelly.activation_based import nir_exchange

    with pytest.raises(NotImplementedError, match=f"{kind} has a soft reset.*NIR"):
        nir_exchange.export_to_nir(network, CURRENT)
