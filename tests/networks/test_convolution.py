"""One matrix product is torch's convolution, where it stands in for it, and elsewhere it does not."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from atif_lib.networks import ACTIVATIONS, resnet8, vgg16
from atif_lib.networks.convolution import Convolution, _MatrixProduct


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def answers(module, x, gradient):
    """Output, and the gradients by input and weight, of one pass under autocast."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    y.backward(gradient.to(y.dtype))
    found = y.detach(), x.grad, module.weight.grad
    module.weight.grad = None
    return found


@pytest.fixture
def products(monkeypatch):
    """Counts how often the matrix product runs."""
    calls, apply = [], _MatrixProduct.apply
    monkeypatch.setattr(_MatrixProduct, "apply", lambda *a: (calls.append(1), apply(*a))[1])
    return calls


@pytest.mark.parametrize(
    ("n", "c", "d", "h", "w"), [(3, 5, 7, 4, 4), (2, 64, 32, 2, 2), (1, 3, 4, 1, 1), (4, 2, 3, 4, 2)]
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_output_and_gradients_are_those_of_torch(products, n, c, d, h, w, layout):
    torch.manual_seed(0)
    ours = Convolution(c, d, 3, padding=1, bias=False).to(memory_format=layout)
    theirs = nn.Conv2d(c, d, 3, padding=1, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x, gradient = noise(n, c, h, w).to(memory_format=layout), noise(n, d, h, w, seed=1)
    for found, expected in zip(answers(ours, x, gradient), answers(theirs, x, gradient), strict=True):
        assert found.dtype == expected.dtype
        assert_close(found, expected, rtol=0.02, atol=0.02)
    assert products == [1]


def test_the_gradient_is_exact_where_bfloat16_is():
    """Small integers: sums of their products are exact, so that a wrong place of the kernel is seen."""
    x = torch.randint(-3, 4, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    ours = Convolution(3, 2, 3, padding=1, bias=False)
    ours.weight.data = torch.randint(-2, 3, ours.weight.shape, generator=torch.Generator().manual_seed(1)).float()
    theirs = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    theirs.load_state_dict(ours.state_dict())
    gradient = torch.randint(-2, 3, (2, 2, 4, 4), generator=torch.Generator().manual_seed(2)).float()
    expected = x.clone().requires_grad_()
    y = theirs(expected)
    y.backward(gradient)
    found = answers(ours, x, gradient)
    for value, wanted in zip(found, (y, expected.grad, theirs.weight.grad), strict=True):
        assert torch.equal(value.float(), wanted.detach())


@pytest.mark.parametrize(
    "make",
    [
        lambda: (Convolution(4, 4, 3, padding=1, bias=False), noise(2, 4, 5, 5)),
        lambda: (Convolution(4, 4, 3, stride=2, padding=1, bias=False), noise(2, 4, 4, 4)),
        lambda: (Convolution(4, 4, 1, bias=False), noise(2, 4, 4, 4)),
        lambda: (Convolution(4, 4, 3, padding=1, groups=2, bias=False), noise(2, 4, 4, 4)),
        lambda: (Convolution(4, 4, 3, padding=1), noise(2, 4, 4, 4)),
        *(
            lambda mode=mode: (Convolution(4, 4, 3, padding=1, padding_mode=mode, bias=False), noise(2, 4, 4, 4))
            for mode in ("circular", "reflect", "replicate")
        ),
    ],
)
def test_others_are_left_to_torch(products, make):
    module, x = make()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x)
    assert not products
    assert_close(found.float(), module(x), rtol=0.02, atol=0.02)


def test_float32_and_float64_are_left_to_torch(products):
    Convolution(4, 4, 3, padding=1, bias=False)(noise(2, 4, 4, 4))
    double = Convolution(4, 4, 3, padding=1, bias=False).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert double(noise(2, 4, 4, 4).double()).dtype == torch.float64
    with pytest.raises(RuntimeError, match="type"):
        Convolution(4, 4, 3, padding=1, bias=False)(noise(2, 4, 4, 4).bfloat16())
    assert not products


def test_a_second_derivative_is_refused():
    module, x = Convolution(4, 4, 3, padding=1, bias=False), noise(2, 4, 4, 4).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        (slope,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_last_layers_of_vgg_take_it_and_the_network_answers_the_same(products, monkeypatch):
    torch.manual_seed(0)
    network = vgg16(ACTIVATIONS["relu"]).to(memory_format=torch.channels_last)
    x = noise(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = network(x)
        assert len(products) == 6  # three convolutions of 4x4 places, three of 2x2
        monkeypatch.setattr("atif_lib.networks.convolution._SMALL", 0)
        expected = network(x)
    assert len(products) == 6
    found, expected = found - network.readout.bias, expected - network.readout.bias
    assert (found - expected).std() < 0.1 * expected.std()


def test_it_prints_copies_and_loads_as_conv2d():
    network = resnet8(ACTIVATIONS["relu"])
    assert "Convolution" not in repr(network)
    same = copy.deepcopy(network)
    same.load_state_dict(network.state_dict())
