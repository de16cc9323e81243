# %% [markdown]
# # Assignment 2: learning a threshold
#
# This assignment belongs to Chapters 3 and 4 of the book. You write the surrogate gradient of a spike, the gradient of
# a threshold with its sign, and the loop that learns it.
#
# **How it works.** Each task is one function. Replace the line `raise NotImplementedError()` by your code, run the cell, and
# then run the cell with the tests behind it. No output means that all tests passed; a test that fails says what it
# expected and why. Run the cells one by one: "run all" stops at the first task that is not done. You may leave a task
# out and go on, since the tests of a task do not need your other tasks.
#
# **Points:** 10, and an optional task. **Time:** about 75 minutes. Everything runs in seconds, without a GPU.

# %%
import math
from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional

from atif_lib.neurons import ATIFu
from atif_lib.quantization import gaussian_sqnr_db, staircase, uniform_staircase

# %% [markdown]
# ## Task 1: a derivative for the step (2 points)
#
# The derivative of the step $\Theta(q)$ is zero wherever it exists, so nothing can be learned through it. In the
# backward pass one pretends that it were the sigmoid $\sigma(\alpha q)$ with the slope $\alpha$, and uses the derivative
# of that with respect to $q$ (Eq. 10, where $\alpha = 1$). Here $\sigma(u) = 1 / (1 + e^{-u})$.


# %% answer="surrogate_derivative"
def surrogate_derivative(q: torch.Tensor, slope: float) -> torch.Tensor:
    """Return the derivative of sigmoid(slope * q) with respect to q, of the shape of q."""
    ### BEGIN SOLUTION
    s = torch.sigmoid(slope * q)
    return slope * s * (1 - s)
    ### END SOLUTION


# %% tests="surrogate_derivative" points=2
q = torch.linspace(-10, 10, 2001, dtype=torch.float64)
assert surrogate_derivative(q, 4.0).min() >= 0, "the sigmoid falls nowhere, so its derivative is nowhere negative"
assert surrogate_derivative(q, 4.0)[-1] < 1e-6, (
    "far above the threshold the sigmoid of α q is flat: its derivative goes to 0 there, the sigmoid itself to 1"
)
assert math.isclose(surrogate_derivative(q, 4.0)[1000], 1.0, rel_tol=1e-9), (
    "at q = 0 the derivative is α/4, which is 1 for α = 4: the chain rule brings the factor α"
)
for slope in (1.0, 2.0, 4.0):
    area = torch.trapezoid(surrogate_derivative(q, slope), q).item()
    assert abs(area - 1) < 1e-3, f"the area under the derivative is the height of the step, 1, and not {area:.3f}"
### BEGIN HIDDEN TESTS
value = surrogate_derivative(torch.tensor(0.5), 2.0).item()
assert abs(value - 0.39322) < 1e-4, "at q = 1/2 with the slope 2 it is 2 σ(1) (1 - σ(1)) = 0.393"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2: the gradient of a threshold, Eq. 12 (2 points)
#
# A neuron has the membranes $H(t)$ and the threshold $V_{th}$; with $q(t) = H(t) - V_{th}$ its spikes are
# $z(t) = \Theta(q(t))$. From behind comes the gradient $\partial L / \partial z(t)$. By the chain rule
#
# $$ \frac{\partial L}{\partial V_{th}} = \sum_t \frac{\partial L}{\partial z(t)} \cdot
#    \frac{\partial z(t)}{\partial q(t)} \cdot \frac{\partial q(t)}{\partial V_{th}}. $$
#
# Take the surrogate of Task 1 for the middle factor, and let the membranes $H(t)$ be constants: the reset is detached.
# Before you write it: if more spikes would *lower* the loss, should the threshold rise or fall?


# %% answer="threshold_gradient"
def threshold_gradient(
    upstream: torch.Tensor, membrane: torch.Tensor, threshold: float, slope: float = 4.0
) -> torch.Tensor:
    """Return the gradient of the loss by the threshold, a scalar, from dL/dz and H, both of shape [T, N]."""
    ### BEGIN SOLUTION
    s = torch.sigmoid(slope * (membrane - threshold))
    return -(upstream * slope * s * (1 - s)).sum()
    ### END SOLUTION


# %% tests="threshold_gradient" points=2
upstream = torch.tensor([[1.0], [0.0]])  # at the first of T = 2 timesteps a spike would raise the loss
membrane = torch.tensor([[0.9], [0.9]])
found = threshold_gradient(upstream, membrane, 1.0)
assert found < 0, "the sign of ∂q/∂V_th is negative: a higher threshold makes a spike less likely"
assert threshold_gradient(-upstream, membrane, 1.0) > 0, (
    "where a spike lowers the loss, ∂L/∂z is negative: it is a factor, with its sign"
)
assert threshold_gradient(0 * upstream, membrane, 1.0) == 0, (
    "where spikes do not change the loss, nor does the threshold"
)
assert abs(threshold_gradient(upstream, membrane + 10, 1.0)) < 1e-6, (
    "far above the threshold nothing changes: take the derivative of the sigmoid at q = H - V_th"
)
assert torch.isclose(threshold_gradient(upstream, membrane + 4, 5.0), found, rtol=1e-3), (
    "only the distance to the threshold matters, q = H - V_th"
)
q = torch.tensor([[0.2, -0.5, 0.0], [0.7, 0.1, -0.1]])
upstream = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.5]])
v = torch.tensor(0.25, requires_grad=True)
(expected,) = torch.autograd.grad((upstream * torch.sigmoid(4 * (q + 0.25 - v))).sum(), v)
assert torch.isclose(threshold_gradient(upstream, q + 0.25, 0.25), expected), (
    "one threshold serves all timesteps and inputs: their gradients add up (a sum, no mean)"
)
### BEGIN HIDDEN TESTS
(expected,) = torch.autograd.grad((upstream * torch.sigmoid(2 * (q + 0.25 - v))).sum(), v)
assert torch.isclose(threshold_gradient(upstream, q + 0.25, 0.25, 2.0), expected), "also for the slope 2"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3: what Eq. 11 leaves out (2 points)
#
# Eq. 11 says $\partial q(t) / \partial V_{th} = -1$. But a soft reset takes a threshold from the membrane, so after a
# spike $q$ contains $V_{th}$ more than once:
#
# $$ q(t) = \underbrace{\sum_{s \le t} i(s) - V_{th} \sum_{s < t} z(s)}_{H(t)} - V_{th}. $$
#
# Return $\partial q(t) / \partial V_{th}$ for $t = 1, \dots, T$, the spikes $z$ being constants. If the reset is
# detached, the membrane $H(t)$ counts as a constant and Eq. 11 holds.


# %% answer="dq_dthreshold"
def dq_dthreshold(spikes: list[int], detach_reset: bool) -> list[int]:
    """Return the derivative of q(t) by the threshold at each timestep, from the spikes z(1), ..., z(T)."""
    ### BEGIN SOLUTION
    derivatives, resets = [], 0
    for z in spikes:
        derivatives.append(-1 if detach_reset else -1 - resets)
        resets += z
    return derivatives
    ### END SOLUTION


# %% tests="dq_dthreshold" points=2
assert dq_dthreshold([0, 0, 0], True) == [-1, -1, -1], "q = H - V_th: without a reset ∂q/∂V_th is -1, with its sign"
assert dq_dthreshold([0, 1, 0, 1], True) == [-1, -1, -1, -1], "with the reset detached Eq. 11 holds at every timestep"
assert dq_dthreshold([0, 1], False) == [-1, -1], "a spike resets the membrane behind it: z(t) is in q from t + 1 on"
assert dq_dthreshold([0, 1, 0, 0], False) == [-1, -1, -2, -2], (
    "the reset stays in the membrane: q contains V_th twice at every timestep after one spike"
)
assert dq_dthreshold([1, 1, 1, 1], False) == [-1, -2, -3, -4], "each spike before t takes one more threshold from q(t)"
### BEGIN HIDDEN TESTS
assert dq_dthreshold([1, 0, 1, 0, 0], False) == [-1, -2, -2, -3, -3], "z = 1, 0, 1, 0, 0"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4: the loss, Eq. 13 (2 points)
#
# A neuron of the library gets constant currents $i$, shape [N], for $T$ timesteps, and its decoded spikes should say
# $\mathrm{ReLU}(i)$. The loss is the mean square error. What you need:
#
# * `functional.reset_net(neuron)` empties the membrane;
# * `neuron(currents)` maps currents [T, N] to spikes [T, N], and `neuron.timesteps` is $T$;
# * `neuron.decode(spikes)` is the estimate, [N].


# %% answer="mean_square_error"
def mean_square_error(neuron: ATIFu, current: torch.Tensor) -> torch.Tensor:
    """Return the loss of a neuron on constant currents [N], a scalar with a gradient by the threshold."""
    ### BEGIN SOLUTION
    functional.reset_net(neuron)
    spikes = neuron(current.expand(neuron.timesteps, *current.shape))
    return (current.relu() - neuron.decode(spikes)).square().mean()
    ### END SOLUTION


# %% tests="mean_square_error" points=2
neuron = ATIFu(4, threshold=0.5, step_mode="m")
negative, positive = torch.tensor([-1.0, -0.2]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9])
assert mean_square_error(neuron, negative).item() == 0, (
    "a neuron cannot answer with a negative number: the target is ReLU(i), not i"
)
expected = (positive - 0.125 * staircase(positive, 0.5, 4)).square().mean().item()
try:
    found = mean_square_error(neuron, positive)
except ValueError as error:
    raise AssertionError("the membrane still holds the last batch: call functional.reset_net first") from error
assert math.isclose(found.item(), expected, rel_tol=1e-4), (
    f"{found.item():.4f} and not {expected:.4f}: the current flows in at every timestep, the spikes are decoded (the rate "
    "times V_th), and the squares are averaged"
)
assert found.requires_grad, "the loss has a gradient by the threshold: do not detach it, and do not return a number"
### BEGIN HIDDEN TESTS
neuron, current = ATIFu(8, threshold=1.0, step_mode="m"), torch.tensor([-0.3, 0.3, 0.7])
expected = (current.relu() - staircase(current, 1.0, 8) / 8).square().mean().item()
assert math.isclose(mean_square_error(neuron, current).item(), expected, rel_tol=1e-4), "also for T = 8"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5: the loop (2 points)
#
# Learn the threshold. Each update draws `batch_size` new currents from $N(0, \sigma^2)$, computes the loss
# `loss_of(neuron, current)`, and takes one step of `torch.optim.Adam` with the learning rate `lr`. Note the threshold
# `neuron.thresholds[0].item()` after each update. (The tests give a `loss_of` of their own.)


# %% answer="learn_threshold"
def learn_threshold(
    neuron: ATIFu,
    loss_of: Callable[[ATIFu, torch.Tensor], torch.Tensor],
    sigma: float,
    steps: int,
    batch_size: int = 256,
    lr: float = 0.01,
) -> list[float]:
    """Train a neuron in place; return its threshold after each update."""
    ### BEGIN SOLUTION
    optimizer = torch.optim.Adam(neuron.parameters(), lr=lr)
    history = []
    for _ in range(steps):
        loss = loss_of(neuron, sigma * torch.randn(batch_size))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(neuron.thresholds[0].item())
    return history
    ### END SOLUTION


# %% tests="learn_threshold" points=2
drawn = []


def falling(neuron: ATIFu, current: torch.Tensor) -> torch.Tensor:
    """Return a loss that falls with the threshold, and keep the currents."""
    drawn.append(current)
    return neuron.log_threshold


neuron = ATIFu(4, step_mode="m")
torch.manual_seed(0)
history = learn_threshold(neuron, falling, 0.1, 20)
assert len(history) == 20, "one threshold is noted after each update"
assert history[-1] != 1, "the threshold has not moved: backward() only computes gradients, the optimizer takes the step"
assert history[-1] < 1, "a loss that falls with the threshold must lower it: descend, do not climb"
assert neuron.log_threshold.grad is None or neuron.log_threshold.grad.item() < 1.5, (
    "gradients add up until they are cleared: call zero_grad before each backward()"
)
assert abs(math.log(history[-1]) + 0.2) < 0.02, "Adam moves the logarithm by its learning rate, 0.01, in each update"
assert drawn[0].shape == (256,), "a batch holds batch_size currents"
assert not torch.equal(drawn[0], drawn[1]), "draw new currents for each update: one batch would be learned by heart"
spread = torch.cat(drawn).std().item()
assert 0.09 < spread < 0.11, f"σ = 0.1 is the standard deviation of the currents; yours have {spread:.3f}"


def true_loss(neuron: ATIFu, current: torch.Tensor) -> torch.Tensor:
    """Return Eq. 13 for the target ReLU(i)."""
    functional.reset_net(neuron)
    return (current.relu() - neuron.decode(neuron(current.expand(4, *current.shape)))).square().mean()


for start in (0.5, 0.05):
    history = learn_threshold(ATIFu(4, threshold=start, step_mode="m"), true_loss, 0.1, 250)
    assert 0.16 < history[-1] < 0.2, f"from V_th = {start} learning should end near 1.78 σ, not at {history[-1]:.3f}"
### BEGIN HIDDEN TESTS
reached = gaussian_sqnr_db(*uniform_staircase(torch.tensor(history[-1], dtype=torch.float64), 4), 0.1).item()
assert reached > 10.9, "a threshold that was learned well reaches 11 dB"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6, optional and harder: the term that sampling loses
#
# The derivative of the *expected* loss has a part that no single sample shows: as $V_{th}$ moves, the transitions
# $t_k = k V_{th} / T$ move too, and the inputs there change from the level $\ell_{k-1}$ to $\ell_k$, where
# $\ell_k = k V_{th} / T$. With the density $\varphi$ of the current this part is
#
# $$ \sum_{k=1}^{T} \varphi(t_k)\, \frac{d t_k}{d V_{th}} \big[ (t_k - \ell_{k-1})^2 - (t_k - \ell_k)^2 \big]. $$
#
# Compute it for $i \sim N(0, 1)$. The tests add it to the derivative of the samples, and compare the sum with the exact
# derivative of the expected loss.


# %% answer="boundary_term"
def boundary_term(threshold: float, timesteps: int) -> float:
    """Return the part of the derivative of the expected loss that the moving transitions make."""
    ### BEGIN SOLUTION
    total, step = 0.0, threshold / timesteps
    for k in range(1, timesteps + 1):
        density = math.exp(-((k * step) ** 2) / 2) / math.sqrt(2 * math.pi)
        total += density * k / timesteps * step**2  # at t_k the level l_k makes no error
    return total
    ### END SOLUTION


# %% tests="boundary_term" points=0
def derivative(threshold: float, timesteps: int, moving: bool) -> float:
    """Return the derivative of the expected loss, with transitions that move with the threshold or that stay."""
    v = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    transitions, levels = uniform_staircase(v, timesteps)
    decibels = gaussian_sqnr_db(transitions if moving else transitions.detach(), levels)
    return torch.autograd.grad(0.5 * 10 ** (-decibels / 10), v)[0].item()


assert boundary_term(2.0, 4) > 0, "the boundaries raise the loss with the threshold: a higher one silences spikes"
for threshold, timesteps in [(2.0, 1), (1.0, 4), (3.0, 4)]:
    pathwise, exact = derivative(threshold, timesteps, False), derivative(threshold, timesteps, True)
    found = pathwise + boundary_term(threshold, timesteps)
    assert math.isclose(found, exact, rel_tol=1e-6), (
        f"V_th = {threshold}, T = {timesteps}: samples {pathwise:.4f} and boundaries should add up to {exact:.4f}, not "
        f"{found:.4f}; φ is the normal density, dt_k/dV_th = k/T, and k runs from 1 to T"
    )
assert derivative(3.0, 4, False) < 0 < derivative(3.0, 4, True), "the samples alone would raise a threshold of 3 σ"
### BEGIN HIDDEN TESTS
assert math.isclose(boundary_term(1.73, 8) + derivative(1.73, 8, False), derivative(1.73, 8, True), rel_tol=1e-6), (
    "T = 8"
)
### END HIDDEN TESTS
