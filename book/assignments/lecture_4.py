# %% [markdown]
# # Assignment 4: a network, its spikes, and where its layers err
#
# This assignment belongs to Chapters 6, 9 and 11 of the book. You count the spikes of a network, write the currents
# between its layers, move a threshold into the weights, and take the error of a layer apart. A small network is trained
# on handwritten digits, for you to try your functions on.
#
# **How it works.** Each task is one function. Replace the line `raise NotImplementedError()` by your code, run the cell, and
# then run the cell with the tests behind it. No output means that all tests passed; a test that fails says what it
# expected and why. Run the cells one by one: "run all" stops at the first task that is not done. You may leave a task
# out and go on, since the tests of a task do not need your other tasks.
#
# **Points:** 10, and an optional task. **Time:** about 75 minutes. The network is trained in less than a minute, without
# a GPU.

# %%
import pandas as pd
import torch
from spikingjelly.activation_based import functional
from torch import nn

from atif_lib import data
from atif_lib.networks import ACTIVATIONS, neurons_of, vgg
from atif_lib.neurons import IF
from atif_lib.quantization import staircase

# %% [markdown]
# ## A small network
#
# It sees digits of 8 by 8 pixels and has three layers of ATIF-u neurons, $T = 4$. `record` keeps what each layer gets and
# gives: its currents and its spikes, both of shape [T, N, C, H, W].

# %%
torch.manual_seed(0)
T = 4
digits = data.load("digits")
train_inputs, test_inputs = (x[:, :1, ::4, ::4].float() / 255 for x in (digits.train_inputs, digits.test_inputs))
network = vgg([16, 32, "pool", 32], ACTIVATIONS["atif-u"], T, in_channels=1)
optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
for _ in range(3):
    for batch in torch.randperm(len(train_inputs)).split(50):
        functional.reset_net(network)
        loss = nn.functional.cross_entropy(network(train_inputs[batch]), digits.train_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
network.eval()


@torch.no_grad()
def record(images: torch.Tensor) -> tuple[torch.Tensor, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Return the logits for images [N, 1, 8, 8], and the currents and the spikes of each layer by its name."""
    kept = {}
    hooks = [
        m.register_forward_hook(lambda m, inputs, spikes, name=name: kept.__setitem__(name, (inputs[0], spikes)))
        for name, m in neurons_of(network).items()
    ]
    functional.reset_net(network)
    logits = network(images)
    for hook in hooks:
        hook.remove()
    return logits, kept


logits, layers = record(test_inputs)
accuracy = 100 * (logits.argmax(1) == digits.test_labels).double().mean().item()
print(f"{accuracy:.1f} % of {len(test_inputs)} test images are named correctly")

# %% [markdown]
# ## Task 1: the sparsity θ of a layer, Eq. 20 (2 points)
#
# For one image, θ is the number of spikes divided by how many there could be: one for each neuron at each timestep. So
# it lies between 0 and 1. The spikes of a batch have the shape [T, N, ...]: time first, then the images, then
# the neurons, in one dimension or more. Return one θ for each image.


# %% answer="theta"
def theta(spikes: torch.Tensor) -> torch.Tensor:
    """Return the sparsity of each image, shape [N], from the spikes of a layer, shape [T, N, ...]."""
    ### BEGIN SOLUTION
    return spikes.movedim(1, 0).flatten(1).mean(1)
    ### END SOLUTION


# %% tests="theta" points=2
spikes = torch.zeros(4, 2, 3)  # T = 4 timesteps, N = 2 images, 3 neurons
spikes[:, 0] = 1  # the first image makes every neuron fire at every timestep
spikes[0, 1, :2] = 1  # the second makes two neurons fire once
found = theta(spikes)
assert found.shape == (2,), "one θ for each image: average over time (dimension 0) and neurons (2 and on), not over 1"
assert found[0] == 1.0, "a neuron that always fires has θ = 1: divide by T as well as by the number of neurons"
assert torch.isclose(found[1], torch.tensor(2 / 12)), "two spikes where 3 neurons times 4 timesteps could fire: 2/12"
assert torch.allclose(theta(spikes.view(4, 2, 3, 1, 1)), found), "a layer of maps, [T, N, C, H, W], has C·H·W neurons"
assert torch.equal(theta(torch.eye(2).view(2, 2, 1)), torch.tensor([0.5, 0.5])), "time is dimension 0, the images 1"
### BEGIN HIDDEN TESTS
spikes = (torch.rand(5, 3, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
assert torch.allclose(theta(spikes), spikes.sum((0, 2, 3)) / 40), "for 5 timesteps and 8 neurons divide by 40"
### END HIDDEN TESTS

# %%
pd.Series({name: theta(spikes).mean().item() for name, (_, spikes) in layers.items()}, name="θ").to_frame().round(3)

# %% [markdown]
# ## Task 2: the sparsity of a network (1 point)
#
# The paper averages θ over *layers*: each counts the same. Hardware feels the mean over *neurons*, where a layer of many
# neurons counts more. Return both, over all images.


# %% answer="network_theta"
def network_theta(layers: list[torch.Tensor]) -> tuple[float, float]:
    """Return θ averaged over layers, and over neurons, from the spikes of each layer, shapes [T, N, ...]."""
    ### BEGIN SOLUTION
    over_layers = sum(z.mean().item() for z in layers) / len(layers)
    over_neurons = sum(z.sum().item() for z in layers) / sum(z.numel() for z in layers)
    return over_layers, over_neurons
    ### END SOLUTION


# %% tests="network_theta" points=1
silent, busy = torch.zeros(4, 2, 30), torch.ones(4, 2, 10)
over_layers, over_neurons = network_theta([silent, busy])
assert abs(over_layers - 0.5) < 1e-6, (
    "over layers: one is silent (0), one always fires (1), so θ = 1/2, whatever their sizes; it comes first"
)
assert abs(over_neurons - 0.25) < 1e-6, "over neurons: 10 of 40 fire, so θ = 1/4; it comes second"
### BEGIN HIDDEN TESTS
over_layers, over_neurons = network_theta([silent, busy, 0 * busy])
assert abs(over_layers - 1 / 3) + abs(over_neurons - 0.2) < 1e-6, "three layers of 30, 10 and 10 neurons"
### END HIDDEN TESTS

# %%
print("θ over layers {:.3f}, over neurons {:.3f}".format(*network_theta([spikes for _, spikes in layers.values()])))

# %% [markdown]
# ## Task 3: the current of the next layer, Eq. 3 (2 points)
#
# Between two layers travel spikes. At each timestep the next layer gets $i(t) = W z(t) + b$, with the weights of
# PyTorch's linear layer, shape [outputs, inputs]. Return the current at each timestep.


# %% answer="next_current"
def next_current(spikes: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the currents [T, N, outputs] for spikes [T, N, inputs]."""
    ### BEGIN SOLUTION
    return spikes @ weight.T + bias
    ### END SOLUTION


# %% tests="next_current" points=2
spikes = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]]])  # T = 3 timesteps, N = 1 image, 2 inputs
weight, bias = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]), torch.full((4,), 0.5)
found = next_current(spikes, weight, bias)
assert found.shape == (3, 1, 4), "a current for each timestep, image and output: [T, N, outputs]"
assert torch.equal(next_current(0 * spikes, weight, bias), bias.expand(3, 1, 4)), (
    "where nothing fires the bias flows in all the same, at every timestep and whole"
)
assert torch.equal(found[0, 0], weight[:, 0] + bias), (
    "at t = 1 only the first input fires, so its weights are added, and no others: use the spikes of that timestep, "
    "not their rate, so that the layer need not multiply"
)
assert torch.equal(found[1, 0], weight.sum(1) + bias), (
    "at t = 2 both inputs fire: both weights are added, and the bias once"
)
assert torch.equal(found[2, 0], bias), "at t = 3 nothing fires: the spikes of earlier timesteps do not count any more"
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(0)
spikes, linear = (torch.rand(4, 6, 5, generator=generator) < 0.4).float(), nn.Linear(5, 3)
assert torch.allclose(next_current(spikes, linear.weight, linear.bias), linear(spikes), atol=1e-6), "it is nn.Linear"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4: two networks that are one (2 points)
#
# A soft-reset neuron does not change if its current and its threshold are divided by the same number. So a layer with a
# learned threshold $V_{th}$ can be replaced by one with a fixed threshold of 1. Give its weights and its bias, which
# belong to the *same* layer, before the neurons.


# %% answer="absorb_threshold"
def absorb_threshold(weight: torch.Tensor, bias: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights and the bias with which neurons of threshold 1 fire as neurons of this threshold did."""
    ### BEGIN SOLUTION
    return weight / threshold, bias / threshold
    ### END SOLUTION


# %% tests="absorb_threshold" points=2
generator = torch.Generator().manual_seed(0)
weight = torch.randint(-8, 9, (5, 6), generator=generator) / 8  # exact in binary, so that no rounding moves a spike
bias = torch.randint(-4, 5, (5,), generator=generator) / 8
spikes = (torch.rand(4, 20, 6, generator=generator) < 0.5).float()


def fire(weight: torch.Tensor, bias: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return the spikes of a layer."""
    return IF(4, threshold=threshold, step_mode="m")(spikes @ weight.T + bias)


new_weight, new_bias = absorb_threshold(weight, bias, 2.0)
assert new_weight.abs().max() < weight.abs().max(), (
    "a threshold of 2 takes twice the charge: with a threshold of 1 the weights must be smaller, W / V_th"
)
assert torch.equal(fire(new_weight, torch.zeros(5), 1.0), fire(weight, torch.zeros(5), 2.0)), (
    "without a bias both layers should fire alike: divide the weights by V_th"
)
assert torch.equal(fire(new_weight, new_bias, 1.0), fire(weight, bias, 2.0)), (
    "the bias is a current as well: it must be divided by V_th too"
)
new_weight, new_bias = absorb_threshold(weight, bias, 0.5)
assert torch.equal(fire(new_weight, new_bias, 1.0), fire(weight, bias, 0.5)), "also for V_th = 0.5"
### BEGIN HIDDEN TESTS
assert torch.equal(fire(*absorb_threshold(weight, bias, 1.0), 1.0), fire(weight, bias, 1.0)), "V_th = 1 changes nothing"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5: three errors in a layer (3 points)
#
# A neuron with the mean current $\bar x = \frac1T \sum_t i(t)$ stands for $x = \mathrm{ReLU}(\bar x)$, and says
# $\hat x = \frac{V_{th}}{T} n$. On the way there three things go wrong:
#
# * **overload**, $c - x$: it cannot say more than the threshold, $c = \min\{V_{th}, x\}$;
# * **granular error**, $r - c$: with a *constant* current it would say $r$, a multiple of $V_{th}/T$ (the library's
#   `staircase(mean, threshold, timesteps)` counts the spikes);
# * **unevenness**, $\hat x - r$: its current was not constant.
#
# Return the mean squares of the three, each divided by the mean square of $x$, in this order.


# %% answer="error_parts"
def error_parts(current: torch.Tensor, spikes: torch.Tensor, threshold: float) -> tuple[float, float, float]:
    """Return overload, granular error and unevenness, from currents and spikes of a layer, both [T, ...]."""
    ### BEGIN SOLUTION
    timesteps, mean = len(current), current.mean(0)
    x = mean.relu()
    clipped = x.clamp(max=threshold)
    constant = threshold / timesteps * staircase(mean, threshold, timesteps)
    said = threshold * spikes.mean(0)
    overload, granular, unevenness = (
        (part.square().mean() / x.square().mean()).item() for part in (clipped - x, constant - clipped, said - constant)
    )
    return overload, granular, unevenness
    ### END SOLUTION


# %% tests="error_parts" points=3
def parts(currents: list[list[float]], threshold: float = 1.0) -> tuple[float, float, float]:
    """Return the three errors of neurons, each given by its currents over time."""
    current = torch.tensor(currents, dtype=torch.float64).T.unsqueeze(1)
    spikes = IF(len(current), threshold=threshold, step_mode="m")(current)
    return error_parts(current, spikes, threshold)


def near(found: float, expected: float) -> bool:
    """Say whether two numbers are equal but for rounding."""
    return abs(found - expected) < 1e-6


assert near(max(parts([[0.5, 0.5, 0.5, 0.5]])), 0), "a constant 0.5 is said exactly, as a rate times V_th"
overload, granular, unevenness = parts([[2.0, 2.0, 2.0, 2.0]])
assert near(overload, 0.25), "x = 2 can only be said as 1: the overload is 1² / 2² of the signal's mean square"
assert near(granular, 0), "what overload took away is no granular error: compare r with c, not with x"
overload, granular, unevenness = parts([[0.375, 0.375, 0.375, 0.375]])
assert near(granular, 1 / 9), "x = 3/8 is rounded down to 1/4: the granular error is (1/8)² / (3/8)² = 1/9"
assert near(unevenness, 0), "a constant current is not uneven: compare what was said with r, not with x"
overload, granular, unevenness = parts([[0.0, 0.0, 0.0, 2.0]])
assert near(granular, 0), "r belongs to the mean current, here 0.5, whatever the order in which it came"
assert near(unevenness, 0.25), "the charge 2 that comes last makes one spike and not two: (1/4)² / (1/2)² = 1/4"
overload, granular, unevenness = parts([[-1.0, -1.0, -1.0, -1.0], [2.0, 2.0, 2.0, 2.0]])
assert near(overload, 0.25), "a negative mean stands for 0, which a silent neuron says without error: take the ReLU"
overload, granular, unevenness = parts([[3.0, 3.0, 3.0, 3.0]], threshold=2.0)
assert near(overload, 1 / 9), "with V_th = 2 a neuron says up to 2"
assert near(granular, 0), "r is the count of the constant current times V_th / T, here 4 times 2/4"
assert near(unevenness, 0), "what is said is the rate times V_th, here 2"
### BEGIN HIDDEN TESTS
assert near(max(parts([[0.5, 0.0, 0.5, 0.0]], threshold=0.5)), 0), "two spikes of 0.5 for the mean 0.25 are right"
### END HIDDEN TESTS

# %%
thresholds = {name: m.thresholds[0].item() for name, m in neurons_of(network).items()}
errors = {name: error_parts(*layer, thresholds[name]) for name, layer in layers.items()}
(100 * pd.DataFrame(errors, index=["overload, %", "granular, %", "unevenness, %"]).T).round(1)

# %% [markdown]
# In which layer is there no unevenness, and why? Which error is the largest in each? Chapter 11 has the answers for
# networks that were trained longer.
#
# ## Task 6, optional and harder: too many or too few
#
# All of the unevenness is in the membrane at the end. Add up Eq. 5 over time: what came in was spent or is still there,
# $T \bar x = n V_{th} + V(T)$. Divide by $V_{th}$ and take the floor, and you know the count of the constant current from
# the spikes and the last membrane alone, without the current. Clip it to $0 \dots T$, compare, and return
# which share of the neurons made *too many* spikes, and which *too few*.


# %% answer="too_many_too_few"
def too_many_too_few(spikes: torch.Tensor, last_membrane: torch.Tensor, threshold: float) -> tuple[float, float]:
    """Return the shares of neurons with a surplus and with missing spikes, from spikes [T, ...] and V(T) [...]."""
    ### BEGIN SOLUTION
    count = spikes.sum(0)
    constant = (count + (last_membrane / threshold).floor()).clamp(0, len(spikes))
    return (count > constant).double().mean().item(), (count < constant).double().mean().item()
    ### END SOLUTION


# %% tests="too_many_too_few" points=0
def shares(currents: list[list[float]], threshold: float = 1.0) -> tuple[float, float]:
    """Return both shares for neurons, each given by its currents over time."""
    current = torch.tensor(currents).T.unsqueeze(1)
    neuron = IF(len(current), threshold=threshold, step_mode="m")
    return too_many_too_few(neuron(current), neuron.v, threshold)


late, spent, steady = [0.0, 0.0, 0.0, 2.0], [2.0, 2.0, -1.0, -1.5], [0.375, 0.375, 0.375, 0.375]
assert shares([steady]) == (0.0, 0.0), "between 0 and V_th is left in the membrane: the count is right"
assert shares([late]) == (0.0, 1.0), "a whole threshold is left in the membrane: a spike is missing, which comes second"
assert shares([spent]) == (1.0, 0.0), "V(T) is below 0: a spike was sent for charge that was taken back, one too many"
assert shares([[2.0] * 4]) == (0.0, 0.0), "T spikes are all there can be: clip the count of the constant current at T"
assert shares([[-1.0] * 4]) == (0.0, 0.0), "a negative current makes no spike, constant or not: clip the count at 0"
assert shares([late, late, spent, steady]) == (0.25, 0.5), "shares of all neurons: 1 of 4, and 2 of 4"
assert shares([[0.4375, 0.4375, 0.4375, 0.4375]]) == (0.0, 0.0), "V(T) is 3/4: less than a threshold, so round down"
assert shares([[0.0, 0.0, 0.0, 1.25]], 0.5) == (0.0, 1.0), "V(T) is 3/4, more than a threshold of 0.5: divide by V_th"
### BEGIN HIDDEN TESTS
assert shares([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]]) == (2 / 3, 0.0), "orders of ±1"
### END HIDDEN TESTS
