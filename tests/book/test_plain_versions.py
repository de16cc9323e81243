"""The plain versions that a chapter opens with compute what the library computes."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import nn

from atif_lib import data
from atif_lib.networks import ACTIVATIONS, vgg_small
from atif_lib.quantization import spike_counts
from atif_lib.training import Recipe
from atif_lib.training.loop import parameter_groups, prepare, update

BOOK = Path(__file__).parents[2] / "book"


def plain(chapter, name, **names):
    """Return a function that a chapter defines, with what it refers to."""
    (path,) = BOOK.glob(f"{chapter}_*.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(tree.body) == 1
    length = tree.body[0].end_lineno - tree.body[0].lineno + 1
    assert length <= 13, f"{name} has {length} lines; a plain version has 12 or fewer, and its def"
    exec(compile(tree, path.name, "exec"), names)
    return names[name]


@pytest.mark.parametrize("timesteps", [1, 4, 8])
def test_chapter_1_one_neuron(timesteps):
    count = plain("01", "count_spikes")
    # Eighths are exact in floating point, so that plain sums do not round; many currents lie on the edge of a step.
    for threshold in (0.5, 1.0, 1.25):
        currents = torch.arange(-8, 17, dtype=torch.float64) / 8
        thresholds = torch.full((timesteps,), threshold, dtype=torch.float64)
        found = [count(current, threshold, timesteps) for current in currents.tolist()]
        assert found == spike_counts(currents, thresholds).tolist()


def test_chapter_6_the_forward_pass():
    torch.manual_seed(0)
    network, images = vgg_small(ACTIVATIONS["atif-u"], 4), torch.randn(3, 3, 32, 32)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    network(images)  # with norms as they were made, the last layer would be silent
    network.eval()
    answer = plain("06", "answer", torch=torch, T=4)
    functional.reset_net(network)
    with torch.no_grad():
        found = answer(network, images)
        functional.reset_net(network)
        torch.testing.assert_close(found, network(images))
    assert (found - network.readout.bias).abs().max() > 0.01


def test_chapter_6_the_training_loop():
    torch.manual_seed(0)
    recipe = Recipe(epochs=1, batch_size=16, augment=(), warmup=0.0)
    labels = torch.arange(32) % 10
    images = (255 * torch.rand(32, 3, 32, 32)).byte()
    examples = data.Examples(images, labels, images[:8], labels[:8], tuple("abcdefghij"), "noise", "test", "")
    network = vgg_small(ACTIVATIONS["atif-u"], 4)
    twin = copy.deepcopy(network)
    training = prepare(network, examples, recipe)
    batch = list(training.batches.draw(0, 0))[:2]
    optimizer = torch.optim.SGD(parameter_groups(twin, recipe), momentum=recipe.momentum, nesterov=recipe.nesterov)
    plain("06", "one_epoch", nn=nn, functional=functional)(twin, [batch], optimizer)
    update(training, 0, 0)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
