"""Accuracy, sparsity and confusion, counted again by hand."""

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from atif_lib import data
from atif_lib.networks.architectures import Network, resnet8, vgg_small
from atif_lib.neurons.atif import IF, ATIFu
from atif_lib.training.evaluation import accuracy_over_time, confusion, evaluate, predictions


@pytest.fixture
def few(digits):
    return digits.thinned(30)


def small(make=vgg_small, activation=lambda channels, timesteps: ATIFu(3, 0.4, step_mode="m"), timesteps=3):
    """A network whose layers fire at different rates."""
    torch.manual_seed(0)
    network = make(activation, timesteps)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


@torch.no_grad()
def spikes_by_layer(network, examples):
    """Spikes [T, N, C, H, W] of each layer for all test examples at once."""
    spikes = {}
    hooks = [
        m.register_forward_hook(lambda m, i, z, name=name: spikes.update({name: z}))
        for name, m in network.named_modules()
        if isinstance(m, ATIFu | neuron.LIFNode)
    ]
    functional.reset_net(network.eval())
    logits = network(data.normalizer(examples)(examples.test_inputs))
    for hook in hooks:
        hook.remove()
    functional.reset_net(network)
    return spikes, logits


@pytest.mark.parametrize("make", [vgg_small, resnet8])
def test_theta_by_hand(few, make):
    network = small(make)
    spikes, logits = spikes_by_layer(network, few)
    theta = {}
    for name, z in spikes.items():
        timesteps, examples, *neurons = z.shape  # Eq. 20: n examples, m neurons
        theta[name] = z.sum().item() / (examples * torch.tensor(neurons).prod().item() * timesteps)
    metrics = evaluate(network, few)
    assert metrics["theta_layers"] == pytest.approx(theta, rel=1e-6)
    assert len(set(theta.values())) > 2
    assert metrics["theta"] == pytest.approx(sum(theta.values()) / len(theta), rel=1e-6)
    fired, places = sum(z.sum().item() for z in spikes.values()), sum(z.numel() for z in spikes.values())
    assert metrics["theta_neurons"] == pytest.approx(fired / places, rel=1e-6)
    assert metrics["theta_neurons"] != pytest.approx(metrics["theta"], rel=1e-2), "the two means are the same here"
    assert metrics["spikes_per_neuron"] == pytest.approx(3 * metrics["theta"])
    right = (logits.argmax(1) == few.test_labels).double().mean().item()
    assert metrics["test_accuracy"] == pytest.approx(100 * right)


def test_theta_of_a_constant_current():
    """Currents of .3 and 1.2 for five timesteps, V_th = 1: one spike and five."""
    inputs = torch.tensor([0.3, 1.2]).view(1, 1, 1, 2).expand(4, -1, -1, -1)
    examples = data.Examples(
        inputs, torch.zeros(4, dtype=torch.long), *(inputs, torch.zeros(4, dtype=torch.long)), ("a",), "", "", ""
    )
    network = Network(nn.Identity(), nn.Sequential(IF(5, step_mode="m")), 1, 1, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "normalizer", lambda examples: lambda inputs: inputs)
        metrics = evaluate(network, examples)
    assert metrics["theta"] == metrics["theta_neurons"] == pytest.approx((1 / 5 + 5 / 5) / 2)
    assert metrics["spikes_per_neuron"] == pytest.approx(3)
    assert metrics["test_accuracy"] == 100


def test_the_batch_size_changes_nothing(few):
    network = small()
    metrics, table, over_time = (measure(network, few) for measure in (evaluate, confusion, accuracy_over_time))
    assert evaluate(network, few, 7) == metrics
    assert torch.equal(confusion(network, few, 29), table)
    assert accuracy_over_time(network, few, 13) == over_time
    assert over_time[-1] == metrics["test_accuracy"]


def test_spikingjelly_s_nodes_are_counted_too(few):
    network = small(activation=lambda channels, timesteps: neuron.LIFNode(v_threshold=0.2, step_mode="m", v_reset=None))
    spikes, _ = spikes_by_layer(network, few)
    metrics = evaluate(network, few)
    assert metrics["theta_layers"] == pytest.approx({k: z.mean().item() for k, z in spikes.items()}, rel=1e-5)
    assert metrics["theta"] > 0


def test_a_network_without_spikes_has_no_theta(few):
    assert evaluate(small(activation=lambda channels, timesteps: nn.ReLU(), timesteps=1), few).keys() == {
        "test_accuracy"
    }


def test_accuracy_over_time_ends_at_the_accuracy(few):
    network = small()
    over_time = accuracy_over_time(network, few)
    assert len(over_time) == 3
    assert over_time[-1] == pytest.approx(evaluate(network, few)["test_accuracy"])
    first = (network.over_time(data.normalizer(few)(few.test_inputs))[0].argmax(1) == few.test_labels).double().mean()
    assert over_time[0] == pytest.approx(100 * first.item())


def test_rows_of_the_confusion_are_the_true_classes(few):
    network = small()
    table, logits = confusion(network, few), spikes_by_layer(network, few)[1]
    assert table.sum(1).tolist() == few.test_labels.bincount(minlength=10).tolist()
    assert table.sum(0).tolist() == logits.argmax(1).bincount(minlength=10).tolist()
    assert 100 * table.trace().item() / 30 == pytest.approx(evaluate(network, few)["test_accuracy"])


def test_a_network_with_other_outputs_than_classes_has_no_confusion(few):
    named = few._replace(classes=("a", "b"))
    with pytest.raises(ValueError, match=r"network with 10 outputs; allowed: 2, one for each class of digits"):
        confusion(small(), named)


def test_predictions_are_of_a_network_at_rest_and_leave_it_so(few):
    network = small().train()
    one, other = ([logits for logits, _ in predictions(network, few, 12)] for _ in range(2))
    assert [len(logits) for logits in one] == [12, 12, 6]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="batch_size=0; allowed: an integer, 1 or more"):
        next(predictions(network, few, 0))
    assert not network.training
    assert all(m.t == 0 for m in network.modules() if isinstance(m, ATIFu))


def test_examples_follow_the_network_to_its_device(few):
    """As after a training on a GPU, which takes the network there and leaves the examples where they are."""
    (logits, labels), *_ = predictions(small(resnet8).to("meta"), few, 10)
    assert logits.device.type == labels.device.type == "meta"
    assert logits.shape == (10, 10)
    assert few.test_inputs.device.type == "cpu"


def test_no_test_examples_are_named(few):
    nothing = few._replace(test_inputs=few.test_inputs[:0], test_labels=few.test_labels[:0])
    for call in (evaluate, accuracy_over_time, confusion):
        with pytest.raises(ValueError, match=r"digits has 0 test examples; allowed: 1 or more"):
            call(small(), nothing)
