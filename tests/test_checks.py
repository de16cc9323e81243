"""What is accepted works, and what does not work is refused at once: the argument, its value, what is allowed."""

import copy
import math

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional
from torch import nn

from atif_lib import checks
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import Network, set_timesteps, vgg_small
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.quantization.density import GAUSSIAN
from atif_lib.quantization.families import best_uniform, ladder
from atif_lib.quantization.lloyd_max import lloyd_max, lloyd_max_samples
from atif_lib.quantization.realisable import best_realisable, shares
from atif_lib.quantization.staircases import patterns
from atif_lib.quantization.uniform import staircase, uniform_staircase

NEURONS = [IF, ATIFu, ATIFnu]
X = torch.tensor([0.3, 0.6])


def network(timesteps):
    return vgg_small(lambda channels, timesteps: ATIFu(4, step_mode="m"), timesteps)


def run_for(timesteps):
    made = vgg_small(ACTIVATIONS["atif-u"])
    set_timesteps(made, timesteps)
    return made


TAKE_T = {  # all that takes a number of timesteps
    "IF": IF,
    "ATIFu": ATIFu,
    "ATIFnu": ATIFnu,
    "QuantizedReLU": QuantizedReLU,
    "Network": lambda t: Network(nn.Identity(), nn.Identity(), 2, 2, t),
    "vgg_small": network,
    "set_timesteps": run_for,
    "staircase": lambda t: staircase(X, 1.0, t),
    "uniform_staircase": lambda t: uniform_staircase(torch.tensor(1.0), t),
    "lloyd_max": lambda t: lloyd_max(GAUSSIAN, t),
    "lloyd_max_samples": lambda t: lloyd_max_samples(np.arange(1.0, 9.0), t),
    "best_uniform": lambda t: best_uniform(GAUSSIAN, t),
    "ladder": lambda t: ladder(GAUSSIAN, t),
    "best_realisable": lambda t: best_realisable(t, "levels", restarts=1, population=5),
    "shares": lambda t: shares(t, 10),
    "patterns": patterns,
}


def plain(value):
    """The same as numbers, whatever it is made of."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return str(value)


@pytest.mark.parametrize("name", TAKE_T)
def test_integers_of_numpy_are_integers(name):
    torch.manual_seed(0)
    expected = plain(TAKE_T[name](4))
    for kind in (np.int64, np.int32, np.uint8):
        assert type(checks.integer("timesteps", kind(4))) is int
        torch.manual_seed(0)
        assert plain(TAKE_T[name](kind(4))) == expected


@pytest.mark.parametrize("bad", [True, np.True_, 2.5, 4.0, np.float64(4), "4", None, 0, -1, math.inf, math.nan])
@pytest.mark.parametrize("name", TAKE_T)
def test_booleans_floats_and_what_is_no_count_are_refused(name, bad):
    with pytest.raises(ValueError, match=r"timesteps=.*; allowed: an integer, 1 or more"):
        TAKE_T[name](bad)


def test_numbers():
    with pytest.raises(ValueError, match="allowed: one number that a float can hold"):
        checks.number("x", 10**400)
    for value in (0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5), np.array(0.5)):
        found = checks.number("x", value)
        assert (found, type(found)) == (0.5, float)
    assert checks.number("x", np.int64(2)) == 2
    for bad in (True, np.True_, "0.5", None, [0.5], np.ones(2), torch.ones(1), torch.tensor(True), 1j):
        with pytest.raises(ValueError, match=r"x=.*; allowed: one number$"):
            checks.number("x", bad)
    with pytest.raises(ValueError, match=r"x=.*; allowed: one number, without a gradient$"):
        checks.number("x", nn.Parameter(torch.tensor(0.5)))


@pytest.mark.parametrize("kind", [*NEURONS, QuantizedReLU])
@pytest.mark.parametrize(
    "learned",
    [nn.Parameter(torch.tensor(0.7)), torch.tensor(0.7, requires_grad=True), torch.ones(()).requires_grad_() * 2],
)
def test_a_threshold_with_a_gradient_is_not_taken_as_a_number(kind, learned):
    """It would be copied, and whoever waits for it to learn would wait in vain."""
    with pytest.raises(ValueError, match=r"threshold=.*gradient") as caught:
        kind(4, threshold=learned)
    if kind is not QuantizedReLU:
        assert "ATIFu" in str(caught.value)
    kind(4, threshold=learned.detach())


@pytest.mark.parametrize("kind", NEURONS)
def test_a_start_with_a_gradient_is_not_taken_as_a_number(kind):
    with pytest.raises(ValueError, match=r"v0=.*; allowed: one number, without a gradient"):
        kind(4, v0=nn.Parameter(torch.tensor(0.5)))
    assert list(dict(kind(4, v0=torch.tensor(0.5)).named_parameters())) == list(dict(kind(4).named_parameters()))


@pytest.mark.parametrize("kind", NEURONS)
def test_spikingjelly_s_threshold_is_read_and_not_silently_set(kind):
    neuron = kind(4, 0.5, step_mode="m")
    assert neuron.v_threshold.item() == pytest.approx(0.5)
    assert neuron.v_reset is None
    for value in (0.1, torch.tensor(0.1), None):
        with pytest.raises(AttributeError, match=r"v_threshold=.*; allowed: threshold of IF, log_threshold of ATIFu"):
            neuron.v_threshold = value
    with pytest.raises((AttributeError, KeyError), match="v_threshold"):
        neuron.v_threshold = nn.Parameter(torch.tensor(0.1))
    with pytest.raises(AttributeError, match=r"v_reset=0.0; allowed: None"):
        neuron.v_reset = 0.0
    neuron.v_reset = None
    again = copy.deepcopy(neuron)
    assert "v_threshold" not in again.state_dict()
    with pytest.raises(AttributeError, match="v_threshold"):
        functional.set_threshold_margin(neuron, torch.eye(2))


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_schedule_of_the_wrong_length_is_refused(step_mode):
    """Timesteps without a threshold were left out."""

    class Falling(IF):
        @property
        def thresholds(self):
            return torch.tensor([1.0, 0.5, 0.25])

    neurons = [Falling(4, step_mode=step_mode), ATIFnu(3, step_mode=step_mode), ATIFnu(3, step_mode=step_mode)]
    for neuron in neurons:
        neuron.timesteps = 4
    neurons[2].fused = True  # refused before anything is compiled
    for neuron in neurons:
        with pytest.raises(ValueError, match=r"thresholds \[3\]; allowed: \[T=4\] or \[T, C\]"):
            neuron(torch.ones(4, 2, 3) if step_mode == "m" else torch.ones(2, 3))


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_currents_must_be_finite(kind, step_mode, bad, dtype):
    currents = torch.full((4, 2, 3), 0.6, dtype=dtype)
    neuron = kind(4, step_mode=step_mode)
    neuron(currents if step_mode == "m" else currents[0])
    neuron.reset()
    currents[0, 1, 2] = bad
    with pytest.raises(ValueError, match="input has 1 NaN or infinite values"):
        neuron(currents if step_mode == "m" else currents[0])
    largest = torch.full((4, 2, 3), torch.finfo(dtype).max, dtype=dtype)
    neuron(largest if step_mode == "m" else largest[0])
