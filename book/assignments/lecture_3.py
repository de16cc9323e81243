# %% [markdown]
# # Assignment 3: steps of different widths
#
# This assignment belongs to Chapters 5 and 12 of the book. You solve for thresholds that change with the timestep,
# look at what staircase they really make, and find the best staircase that there is, by the method of Lloyd and Max.
#
# **How it works.** Each task is one function. Replace the line `raise NotImplementedError()` by your code, run the cell, and
# then run the cell with the tests behind it. No output means that all tests passed; a test that fails says what it
# expected and why. Run the cells one by one: "run all" stops at the first task that is not done. You may leave a task
# out and go on, since the tests of a task do not need your other tasks.
#
# **Points:** 10, and an optional task. **Time:** about 75 minutes. Everything runs in seconds, without a GPU.

# %%
import torch

from atif_lib.quantization import spike_counts
from atif_lib.quantization.density import GAUSSIAN, LAPLACE
from atif_lib.quantization.lloyd_max import lloyd_max as exact_lloyd_max

# %% [markdown]
# ## Task 1: thresholds for wanted transitions (3 points)
#
# The spike count is to step up at the inputs $p_1 > p_2 > \dots > p_T > 0$: to $T$ spikes at $p_1$, to one spike at
# $p_T$. If the spikes come as late as they can, then all the charge up to the end pays for the last spikes:
#
# $$ T p_k = V_{p_k} + V_{p_{k+1}} + \dots + V_{p_T}, \qquad k = 2, \dots, T. $$
#
# This is Eq. 14 for $k = T$ and the last line of Eqs 16 and 18. For $T$ spikes the first must come at once, so the
# first threshold stands apart: $V_{p_1} = p_1$ (Eq. 15). Solve for the thresholds. (Do not use Eq. 19 of the paper: it
# solves another line.)


# %% answer="thresholds_for"
def thresholds_for(p: torch.Tensor) -> torch.Tensor:
    """Return the thresholds of the timesteps 1, ..., T, shape [T], for falling transitions p, shape [T]."""
    ### BEGIN SOLUTION
    below = torch.cat([p[1:], torch.zeros(1, dtype=p.dtype)])
    thresholds = len(p) * (p - below)
    thresholds[0] = p[0]
    return thresholds
    ### END SOLUTION


# %% tests="thresholds_for" points=3
uniform = torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64)
p = torch.tensor([2.0, 1.0, 0.5, 0.125], dtype=torch.float64)
found = thresholds_for(p)
assert found.shape == (4,), "there is one threshold for each timestep"
assert (found > 0).all(), "p falls with k: subtract the smaller p_{k+1} from p_k, and thresholds are positive"
assert found[3] == 0.5, "Eq. 14: a single spike, at the end, costs all the charge that came in: V_p4 = T p_4"
assert found[0] == 2.0, "Eq. 15: T spikes begin at the first timestep, so V_p1 = p_1, without a factor T"
assert found[2] == 1.5, "Eq. 17: two spikes cost T p_3 = V_p3 + V_p4, so V_p3 = T (p_3 - p_4)"
assert found[1] == 2.0, "three spikes cost T p_2, the last line of Eq. 18: V_p2 = T (p_2 - p_3)"
assert torch.equal(thresholds_for(uniform), torch.ones(4, dtype=torch.float64)), (
    "for evenly spaced transitions it is the uniform neuron: all thresholds are 1"
)
assert torch.equal(thresholds_for(torch.tensor([1.0, 0.5])), torch.tensor([1.0, 1.0])), (
    "for T = 2 the factor is 2, not 4"
)
### BEGIN HIDDEN TESTS
p = torch.tensor([1.5, 1.0, 0.75, 0.5, 0.25], dtype=torch.float64)
assert torch.allclose(thresholds_for(p), torch.tensor([1.5, 1.25, 1.25, 1.25, 1.25], dtype=torch.float64)), "T = 5"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 2: the transitions that come out (2 points)
#
# Nothing forces spikes to come late, so the staircase need not be the one that was wanted. Look: the library's
# `spike_counts(grid, thresholds)` simulates the neuron for every current of a rising grid. Return, for
# $n = 1, \dots, T$, the smallest current of the grid at which the count is *at least* $n$, and infinity where there is
# none.


# %% answer="realised"
def realised(thresholds: torch.Tensor, grid: torch.Tensor) -> list[float]:
    """Return the smallest currents of the grid at which the count reaches 1, ..., T."""
    ### BEGIN SOLUTION
    counts = spike_counts(grid, thresholds)
    reached = [grid[counts >= n] for n in range(1, len(thresholds) + 1)]
    return [currents.min().item() if len(currents) else float("inf") for currents in reached]
    ### END SOLUTION


# %% tests="realised" points=2
grid = torch.arange(0, 4097, dtype=torch.float64) / 2048  # from 0 to 2
uniform = torch.ones(4, dtype=torch.float64)
found = realised(uniform, grid)
assert len(found) == 4, "T thresholds make T transitions: the count 0 needs none"
assert found == [0.25, 0.5, 0.75, 1.0], (
    f"the uniform neuron reaches n spikes at the current n/4, that value included; yours are {found}"
)
printed = torch.tensor([1.0, 1.25, 1.0, 1.0], dtype=torch.float64)
assert realised(printed, grid) == [0.25, 0.5, 0.8125, 1.125], "the thresholds of Eq. 19 as printed miss 0.75 and 1"
assert realised(4 * uniform, grid) == [1.0, 2.0, float("inf"), float("inf")], (
    "where no current of the grid makes n spikes the transition is infinite"
)
falling = torch.tensor([1.0, 1.6, 1.0, 2.0], dtype=torch.float64)  # its count falls once on the way
assert abs(realised(falling, grid)[1] - 0.75) < 1e-3, (
    "where a count falls again the first current that reached it counts"
)
### BEGIN HIDDEN TESTS
late = torch.tensor([1.0, 1.0, 0.5, 0.5], dtype=torch.float64)
assert realised(late, grid) == [0.125, 0.25, 0.5, 1.0], "Figure 4: these thresholds make the staircase that was wanted"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 3: Lloyd and Max, the first condition (1 point)
#
# Now forget the neuron, and ask for the best staircase with the levels $\ell_0 = 0 < \ell_1 < \dots < \ell_T$. With the
# levels given, each input should go to the *nearest* level. So where are the transitions $t_1, \dots, t_T$?


# %% answer="transitions_between"
def transitions_between(levels: torch.Tensor) -> torch.Tensor:
    """Return the best transitions, shape [T], for levels 1 ... T, shape [T]; level 0 is 0."""
    ### BEGIN SOLUTION
    lower = torch.cat([torch.zeros(1, dtype=levels.dtype), levels[:-1]])
    return (lower + levels) / 2
    ### END SOLUTION


# %% tests="transitions_between" points=1
levels = torch.tensor([1.0, 2.0, 4.0])
assert transitions_between(levels).shape == (3,), "T levels above 0 have T transitions: level 0 is below the first"
assert transitions_between(levels)[2] == 3.0, "the input half way between two levels is the transition between them"
assert torch.equal(transitions_between(levels), torch.tensor([0.5, 1.5, 3.0])), (
    "t_1 lies half way between the levels 0 and 1, t_2 between 1 and 2, t_3 between 2 and 4"
)
### BEGIN HIDDEN TESTS
assert torch.equal(transitions_between(torch.tensor([3.0])), torch.tensor([1.5])), "also for T = 1"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 4: Lloyd and Max, the second condition (2 points)
#
# With the transitions given, each level should be the *mean* of the inputs that it stands for:
#
# $$ \ell_k = E[\,x \mid t_k \le x < t_{k+1}\,], \qquad k = 1, \dots, T, \qquad t_{T+1} = \infty. $$
#
# Compute these means for a sample. You may assume that no cell is empty.


# %% answer="means_between"
def means_between(x: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
    """Return levels 1 ... T, shape [T], the means of a sample x, shape [N], between the transitions, shape [T]."""
    ### BEGIN SOLUTION
    upper = [*transitions[1:].tolist(), float("inf")]
    cells = zip(transitions.tolist(), upper, strict=True)
    return torch.stack([x[(x >= low) & (x < high)].mean() for low, high in cells])
    ### END SOLUTION


# %% tests="means_between" points=2
x = torch.tensor([0.0, 0.2, 1.0, 1.0, 1.75, 2.0, 3.0, 9.0], dtype=torch.float64)
transitions = torch.tensor([1.0, 2.0], dtype=torch.float64)
found = means_between(x, transitions)
assert found.shape == (2,), (
    "T transitions have T levels: what is below t_1 belongs to level 0, which is 0 and not asked for"
)
assert found[0] < 2, "the cell of level k ends at t_{k+1}: inputs above it belong to the next"
assert found[0] == 1.25, (
    f"the inputs 1, 1 and 1.75 are in [1, 2), t_1 included and t_2 not: their mean is 1.25, yours is {found[0]:.3f}"
)
assert abs(found[1] - 14 / 3) < 1e-9, "the last cell has no upper end: 2, 3 and 9 are in it, and their mean is 4.67"
### BEGIN HIDDEN TESTS
found = means_between(torch.arange(10, dtype=torch.float64), torch.tensor([1.0, 4.0, 8.0], dtype=torch.float64))
assert found.tolist() == [2.0, 5.5, 8.5], "the numbers 0 to 9 between 1, 4 and 8"
### END HIDDEN TESTS

# %% [markdown]
# ## Task 5: Lloyd's method (2 points)
#
# Satisfy the two conditions in turn, again and again: transitions for the levels, levels for the transitions. Begin with
# evenly spaced levels up to the largest value of the sample, $\ell_k = \frac{k}{T} \max x$, and stop after `iterations`
# rounds. The functions of Tasks 3 and 4 are all that you need, but you may write it without them.


# %% answer="lloyd_max"
def lloyd_max(x: torch.Tensor, timesteps: int, iterations: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Return transitions and levels, each of shape [T], of the best staircase for a sample x, shape [N]."""
    ### BEGIN SOLUTION
    levels = torch.arange(1, timesteps + 1, dtype=x.dtype) / timesteps * x.max()
    for _ in range(iterations):
        lower = torch.cat([torch.zeros(1, dtype=x.dtype), levels[:-1]])
        cell = torch.bucketize(x, (lower + levels) / 2, right=True)
        levels = torch.stack([x[cell == k].mean() for k in range(1, timesteps + 1)])
    lower = torch.cat([torch.zeros(1, dtype=x.dtype), levels[:-1]])
    return (lower + levels) / 2, levels
    ### END SOLUTION


# %% tests="lloyd_max" points=2
places = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
gaussian = torch.special.ndtri(places).relu()
laplace = -torch.log(2 * (1 - places)).clamp(max=0) / 2**0.5  # the positive half, 0 elsewhere


def decibels(x: torch.Tensor, transitions: torch.Tensor, levels: torch.Tensor) -> float:
    """Return the SQNR of a staircase on a sample, with level 0 below the first transition."""
    outputs = torch.cat([torch.zeros(1, dtype=x.dtype), levels])
    x_hat = outputs[torch.bucketize(x, transitions, right=True)]
    return (10 * torch.log10(x.square().mean() / (x - x_hat).square().mean())).item()


transitions, levels = lloyd_max(gaussian, 4)
assert transitions.shape == levels.shape == (4,), "there are T transitions and T levels above 0"
assert abs(transitions[0] - levels[0] / 2) < 1e-3, "the level below the first transition is 0, and stays 0"
best = exact_lloyd_max(GAUSSIAN, 4)
found = decibels(gaussian, transitions, levels)
assert found > 15.4, (
    f"the best five levels reach {best.sqnr_db:.2f} dB, yours {found:.2f}: repeat both conditions in turn"
)
assert (levels - best.levels).abs().max() < 0.02, f"the levels should be {best.levels.numpy().round(2)}"
transitions, levels = lloyd_max(gaussian, 4, iterations=1)
assert abs(levels[-1].item() - 3.42) < 0.02, "after one round the levels are the means of evenly spaced cells"
### BEGIN HIDDEN TESTS
assert decibels(laplace, *lloyd_max(laplace, 4)) > exact_lloyd_max(LAPLACE, 4).sqnr_db - 0.1, (
    "also for a Laplace density"
)
### END HIDDEN TESTS

# %% [markdown]
# ## Task 6, optional and harder: what is left behind a next layer
#
# By itself a neuron that starts half full is worth 4 dB more than one that starts empty. In a network a next layer reads
# the spikes, and its weights and bias may scale and shift them for nothing: it decodes $\hat x = g\, n + b$ with the
# gain $g$ and the offset $b$ that make $E[(x - g n - b)^2]$ least. Return that SQNR in dB. Setting the two derivatives
# to zero gives
#
# $$ g = \frac{E[n x] - E[n] E[x]}{E[n^2] - E[n]^2}, \qquad b = E[x] - g E[n]. $$


# %% answer="affine_sqnr_db"
def affine_sqnr_db(x: torch.Tensor, count: torch.Tensor) -> float:
    """Return the SQNR in dB of counts n, shape [N], as estimates of x, shape [N], with the best gain and offset."""
    ### BEGIN SOLUTION
    n = count.to(x.dtype)
    gain = ((n * x).mean() - n.mean() * x.mean()) / (n.square().mean() - n.mean() ** 2)
    offset = x.mean() - gain * n.mean()
    noise = (x - gain * n - offset).square().mean()
    return (10 * torch.log10(x.square().mean() / noise)).item()
    ### END SOLUTION


# %% tests="affine_sqnr_db" points=0
places = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
x = torch.special.ndtri(places).relu()


def best_decibels(start: float) -> float:
    """Return the SQNR of the best threshold for T = 4, membranes that start with this share of a threshold."""
    thresholds = torch.arange(1.0, 3.5, 0.1, dtype=torch.float64)
    return max(affine_sqnr_db(x, spike_counts(x, v.expand(4), start)) for v in thresholds)


n = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
assert affine_sqnr_db(2 * n + 1, n) > 100, "counts that say x but for a gain and an offset say it without error"
signal = torch.tensor([0.0, 1.0, 1.0, 4.0], dtype=torch.float64)
assert abs(affine_sqnr_db(signal, n) - 10.0) < 1e-6, (
    "for n = 0, 1, 2, 3 and x = 0, 1, 1, 4 the gain is 1.2, the offset -0.3, and the SQNR 10 dB"
)
empty, half = best_decibels(0.0), best_decibels(0.5)
assert abs(empty - 14.1) < 0.05, f"an empty start reaches 14.1 dB when it is read by a next layer, not {empty:.2f}"
assert abs(half - empty - 1.08) < 0.05, f"of the 4 dB of a half-full start 1.08 dB are left, not {half - empty:.2f}"
### BEGIN HIDDEN TESTS
assert abs(affine_sqnr_db(3 * signal, n) - 10.0) < 1e-6, "a scale of x changes nothing"
### END HIDDEN TESTS
