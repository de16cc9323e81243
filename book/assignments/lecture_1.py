# %% [markdown]
# # Assignment 1: a spiking neuron is a quantizer
#
# This assignment belongs to Chapters 1 and 2 of the book. You write the integrate-and-fire neuron, its closed form, and
# the measure of what its rounding costs.
#
# **How it works.** Each task is one function. Replace the line `raise NotImplementedError()` by your code, run the cell, and
# then run the cell with the tests behind it. No output means that all tests passed; a test that fails says what it
# expected and why. Run the cells one by one: "run all" stops at the first task that is not done. You may leave a task
# out and go on, since the tests of a task do not need your other tasks.
#
# **Points:** 10, and an optional task. **Time:** about 60 minutes. Everything runs in seconds, without a GPU.

# %%
import torch

from atif_lib.quantization import spike_counts, staircase

# %% [markdown]
# ## Task 1: one neuron, timestep by timestep (3 points)
#
# A constant current $i$ flows into a neuron whose membrane is empty at first, $V(0) = 0$. At each timestep
#
# $$ H(t) = V(t-1) + i, \qquad z(t) = \Theta\big(H(t) - V_{th}\big), \qquad V(t) = H(t) - V_{th}\, z(t). $$
#
# $\Theta$ is the step function with $\Theta(0) = 1$. The last equation is the *soft reset*. Return the spikes
# $z(1), \dots, z(T)$ as a list of 0 and 1.


# %% answer="spike_train"
def spike_train(current: float, threshold: float, timesteps: int) -> list[int]:
    """Return the spikes of a neuron with soft reset under a constant current, one for each timestep."""
    ### BEGIN SOLUTION
    v, spikes = 0.0, []
    for _ in range(timesteps):
        h = v + current
        z = int(h >= threshold)
        v = h - threshold * z
        spikes.append(z)
    return spikes
    ### END SOLUTION


# %% tests="spike_train" points=3
spikes = spike_train(0.3, 1.0, 8)
assert isinstance(spikes, list), "return the list of the spikes z(1), ..., z(T), not their number"
assert len(spikes) == 8, "there is one z(t) for each of the T timesteps, 0 or 1"
assert set(spikes) <= {0, 1}, "return the spikes z(t), each 0 or 1, and not the membrane"
assert spike_train(0.3, 1.0, 4) == [0, 0, 0, 1], (
    "the current is added before the comparison: H(4) = 1.2 is the first membrane above 1, so z(4) = 1"
)
assert spike_train(0.25, 1.0, 4) == [0, 0, 0, 1], "Θ(0) = 1: a membrane that is exactly at the threshold fires"
assert spike_train(0.25, 1.0, 8) == [0, 0, 0, 1, 0, 0, 0, 1], (
    "a spike costs a threshold: after it the membrane is reset"
)
assert spike_train(0.375, 1.0, 8) == [0, 0, 1, 0, 0, 1, 0, 1], (
    "the reset is soft: Eq. 5 subtracts the threshold, and what was above it stays in the membrane"
)
assert spike_train(0.375, 0.5, 4) == [0, 1, 1, 1], "the reset subtracts V_th, which is 0.5 here and not 1"
assert spike_train(1.75, 1.0, 4) == [1, 1, 1, 1], "there is at most one spike in a timestep, however large the current"
assert spike_train(-0.5, 1.0, 4) == [0, 0, 0, 0], "a negative current makes no spike"
### BEGIN HIDDEN TESTS
assert spike_train(0.625, 1.0, 8) == [0, 1, 0, 1, 1, 0, 1, 1], "i = 5/8 makes five spikes in eight timesteps"
assert spike_train(0.75, 2.0, 6) == [0, 0, 1, 0, 0, 1], "with V_th = 2 the spikes come at t = 3 and t = 6"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2: what did the spikes say? (1 point)
#
# The receiver averages the spikes over time and scales the result so that it estimates the current:
#
# $$ \hat x = \frac{V_{th}}{T} \sum_{t=1}^{T} z(t). $$
#
# Time is the *first* dimension, as everywhere in the book.


# %% answer="decode"
def decode(spikes: torch.Tensor, threshold: float) -> torch.Tensor:
    """Estimate the currents of N neurons, shape [N], from their spikes, shape [T, N]."""
    ### BEGIN SOLUTION
    return threshold * spikes.mean(0)
    ### END SOLUTION


# %% tests="decode" points=1
spikes = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])  # T = 4 timesteps, N = 2 neurons
assert decode(spikes, 1.0).shape == (2,), "average over time, dimension 0 of [T, N]: one estimate for each neuron"
assert torch.allclose(decode(spikes, 1.0), torch.tensor([0.25, 0.75])), "a rate is the number of spikes divided by T"
assert torch.allclose(decode(spikes, 0.5), torch.tensor([0.125, 0.375])), (
    "the rate has no unit: an estimate of the current is the rate multiplied by V_th"
)
assert torch.allclose(decode(torch.ones(3, 3).tril(), 1.0), torch.tensor([1.0, 2 / 3, 1 / 3])), (
    "average over time, dimension 0, also where T = N"
)
### BEGIN HIDDEN TESTS
assert torch.allclose(decode(torch.ones(8, 1), 3.0), torch.tensor([3.0])), "a spike at every timestep says V_th"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3: the closed form, Eq. 7 (3 points)
#
# The number of spikes needs no simulation: charge is conserved, so for a constant current of any shape it is
#
# $$ n = \min\left\{T,\ \max\left\{0,\ \left\lfloor \frac{T\,i}{V_{th}} \right\rfloor\right\}\right\}. $$
#
# For tensors there are `torch.floor` and `.clamp(low, high)`. Write the formula itself: `spike_counts` and `staircase` of the
# library are for the tests. Before you write it, answer for yourself: for $T = 8$ and $V_{th} = 1$, how many different values can $n$ take? Where
# is the first step, and how wide is each?


# %% answer="spike_count"
def spike_count(current: torch.Tensor, threshold: float, timesteps: int) -> torch.Tensor:
    """Return the number of spikes in T timesteps for constant currents of any shape."""
    ### BEGIN SOLUTION
    return (timesteps * current / threshold).floor().clamp(0, timesteps)
    ### END SOLUTION


# %% tests="spike_count" points=3
current = torch.arange(-32, 97, dtype=torch.float64) / 64  # from -0.5 to 1.5, exact in binary
count = spike_count(current, 1.0, 8)
assert torch.equal(count, count.round()), "a number of spikes is a whole number: the floor is missing"
assert count.min() >= 0, "a negative current makes no spike: the lower clip at 0 is missing"
assert count.max() <= 8, "there are no more than T spikes: the upper clip at T is missing"
assert count[current < 0.125].max() == 0, "the neuron rounds down: below the first step, V_th / T, there is no spike"
assert count[current == 0.125] == 1, "the charge of T timesteps is T i: the first step is at i = V_th / T"
assert count.unique().numel() == 9, "there are T + 1 = 9 answers: zero spikes is one, and so is T"
assert spike_count(current, 1.0, 4).max() == 4, "the upper clip is at T, which is 4 here and not 8"
assert spike_count(current[:6].view(2, 3), 1.0, 8).shape == (2, 3), "the shape is that of the currents, here [2, 3]"
assert torch.equal(spike_count(current, 0.5, 8), spike_count(2 * current, 1.0, 8)), (
    "only i / V_th matters: half the threshold is twice the current"
)
simulated = spike_counts(current, torch.ones(8, dtype=torch.float64))
assert torch.equal(count.long(), simulated), "the closed form and the simulation agree at every input"
### BEGIN HIDDEN TESTS
simulated = spike_counts(current, torch.full((5,), 0.75, dtype=torch.float64))
assert torch.equal(spike_count(current, 0.75, 5).long(), simulated), "also for T = 5 and V_th = 0.75"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4: signal over noise, Eq. 8 (1 point)
#
# $$ \mathrm{SQNR}(x) = 10 \log_{10} \frac{E[x^2]}{E[(x - \hat x)^2]} $$
#
# in decibels. $E$ is the mean over all values; the mean of a square is called power. Every 10 dB is a factor of ten in power.
# For tensors use `torch.log10`.


# %% answer="sqnr_db"
def sqnr_db(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Return the signal-to-quantization-noise ratio in dB, a scalar; the means are over all values."""
    ### BEGIN SOLUTION
    return 10 * torch.log10(x.square().mean() / (x - x_hat).square().mean())
    ### END SOLUTION


# %% tests="sqnr_db" points=1
x = torch.tensor([1.0, 2.0, 3.0, 4.0])
assert sqnr_db(x, 0.5 * x) > 0, (
    "less noise is a higher SQNR: the power of x stands above the fraction bar, that of the error below"
)
assert torch.isclose(sqnr_db(x, 0.5 * x), torch.tensor(6.0206)), (
    "an error of half the signal has a quarter of its power, and 10 log10(4) = 6.02: the factor is 10, the logarithm has "
    "the base 10, and both the signal and the error are squared"
)
assert torch.isclose(sqnr_db(x, x - 0.5), torch.tensor(14.7712)), (
    "an error that is always 0.5 has the power 0.25: take the mean of the squares, and do not subtract a mean first"
)
one_error = torch.tensor([0.5, 2.0, 3.0, 4.0])
assert torch.isclose(sqnr_db(x, one_error), torch.tensor(20.7918)), (
    "E[x²] / E[(x - x̂)²] is the ratio of two means, 7.5 / 0.0625, and not the mean of ratios"
)
### BEGIN HIDDEN TESTS
assert torch.isclose(sqnr_db(x, torch.zeros(4)), torch.tensor(0.0)), (
    "where nothing arrives the noise is the signal: 0 dB"
)
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5: two kinds of error (2 points)
#
# Up to $V_{th}$ the error is *granular*: it comes from the width of the steps. Above $V_{th}$ it is *overload*: the
# staircase has ended. Split the mean square error of a sample into the two,
#
# $$ E[(x - \hat x)^2] = \underbrace{E\big[(x - \hat x)^2\, 1_{x \le V_{th}}\big]}_{\text{granular}} +
#    \underbrace{E\big[(x - \hat x)^2\, 1_{x > V_{th}}\big]}_{\text{overload}}. $$
#
# Both means run over *all* values; the indicator $1$ makes a value count 0 where it does not belong.


# %% answer="split_error"
def split_error(x: torch.Tensor, x_hat: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the granular and the overload part of the mean square error, in this order."""
    ### BEGIN SOLUTION
    error = (x - x_hat).square()
    return torch.where(x <= threshold, error, 0).mean(), torch.where(x > threshold, error, 0).mean()
    ### END SOLUTION


# %% tests="split_error" points=2
x = torch.tensor([0.1, 0.3, 0.6, 0.7, 1.5, 3.0], dtype=torch.float64)
x_hat = staircase(x, 1.0, 4) / 4
granular, overload = split_error(x, x_hat, 1.0)
whole = (x - x_hat).square().mean()
assert torch.isclose(granular + overload, whole), (
    "the parts add up to the mean square error: square the error, and divide both parts by the number of all values"
)
assert granular < overload, "the granular part comes first; here the overload of the inputs 1.5 and 3 is far larger"
assert granular <= 1 / 16, "a granular error is never larger than a step, V_th / T = 1/4"
assert torch.isclose(overload, torch.tensor(4.25 / 6, dtype=torch.float64)), (
    "overload begins above V_th: 1.5 and 3 are decoded as 1, and (0.5² + 2²) / 6 = 0.708, a mean over all 6 values"
)
half = split_error(x, 0.5 * x_hat, 0.5)[0]
assert torch.isclose(half, torch.tensor((0.1**2 + 0.175**2) / 6, dtype=torch.float64)), (
    "with V_th = 0.5 only 0.1 and 0.3 lie below it: the two parts meet at V_th, which is not always 1"
)
assert split_error(x[:4], x_hat[:4], 1.0)[1] == 0, "without an input above V_th there is no overload, and 0 is a number"
### BEGIN HIDDEN TESTS
granular, overload = split_error(x, 0.5 * staircase(x, 2.0, 4), 2.0)
assert torch.isclose(overload, torch.tensor(1 / 6, dtype=torch.float64)), "with V_th = 2 only the input 3 overloads"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6, optional and harder: the best threshold
#
# A low threshold makes fine steps and much overload; a high one the reverse. Find the candidate with the highest SQNR
# for a given sample $x = \mathrm{ReLU}(i)$. Do it also for a membrane that starts with the charge
# $V(0) = v_0 V_{th}$: the library's `staircase(x, threshold, timesteps, v0)` counts the spikes of both, so
# that $\hat x = V_{th}\, n / T$ with its answer $n$.
#
# Before you run the tests, guess: does the neuron that starts half full, $v_0 = 0.5$, want a higher or a lower threshold?


# %% answer="best_threshold"
def best_threshold(x: torch.Tensor, timesteps: int, candidates: list[float], v0: float = 0.0) -> float:
    """Return the candidate whose decoded staircase has the highest SQNR on the sample x."""
    ### BEGIN SOLUTION

    def noise(threshold: float) -> float:
        x_hat = threshold / timesteps * staircase(x, threshold, timesteps, v0)
        return (x - x_hat).square().mean().item()

    return min(candidates, key=noise)
    ### END SOLUTION


# %% tests="best_threshold" points=0
places = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
x = torch.special.ndtri(places).relu()  # ReLU of a Gaussian with σ = 1
candidates = [0.5 + 0.05 * n for n in range(60)]
empty = best_threshold(x, 4, candidates)
assert empty in candidates, "return the threshold itself, not its place in the list"
assert 0.6 < empty < 3, (
    "the best threshold is neither the first nor the last candidate: the highest SQNR is asked for; is n divided by T?"
)
assert abs(empty - 1.73) < 0.06, "for T = 4 the best is 1.73 σ; is the rate multiplied by V_th before it is compared?"
assert abs(best_threshold(x, 8, candidates) - 2.16) < 0.06, "with T = 8 the best threshold moves out to 2.16 σ"
assert abs(best_threshold(x, 4, candidates, 0.5) - 2.14) < 0.06, (
    "a half-full start rounds to the nearest level: its granular error is smaller, so overload decides, and 2.14 σ is best"
)
### BEGIN HIDDEN TESTS
assert abs(best_threshold(0.5 * x, 4, candidates) - 0.87) < 0.06, "half the σ, half the threshold"
### END HIDDEN TESTS
