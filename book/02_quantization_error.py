# %% [markdown]
# # Granular and overload error
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how to measure what rounding costs (Eq. 8), why it costs in two different ways (Figure 2 of the
# paper), and how to find the best threshold for a known distribution of inputs without training anything.
#
# **Time:** 20 minutes to read, a few seconds to run on any laptop.
#
# **You need** [](01_if_neuron.py) and the normal distribution.
# :::

# %%
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt

from atif_lib.quantization import (
    gaussian_sqnr_db,
    maximise_sqnr,
    split_error,
    sqnr_db,
    staircase,
    uniform_staircase,
)
from atif_lib.quantization.density import sqnr
from atif_lib.results import figures

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## Signal over noise
#
# Let $x$ be the value that we want to transmit and $\hat x$ what the receiver makes of the spikes. The difference is
# **quantization noise**. Whether it is large or small depends on how large the signal is, so one compares their powers,
# in decibels:
#
# $$ \mathrm{SQNR}(x) = 10 \log_{10} \frac{E[x^2]}{E[(x - \hat x)^2]} \tag{8} $$ (eq-8)
#
# where $E$ is the mean over all values, and the mean of a square is called power. This is the
# signal-to-quantization-noise ratio, SQNR. Every 10 dB is a factor of ten in power, 3 dB a factor of two, and at
# 0 dB the noise is as strong as the signal.

# %%
figures.show_source(sqnr_db)

# %% [markdown]
# A ReLU passes on positive inputs without any noise. For a spiking neuron in its place, the truth is $x =
# \mathrm{ReLU}(i)$, and the estimate is what its spikes decode to. (Negative inputs are 0 in both; they add nothing to
# either mean.)
#
# ## Two kinds of error (Figure 2)
#
# **Predict:** the neuron has $T = 8$ and $V_{th} = 1$. What is the largest error for inputs up to 1? And what is it at
# an input of 3?

# %%
i = torch.linspace(0, 2, 4001, dtype=torch.float64)
x_hat = staircase(i, threshold=1.0, timesteps=8) / 8
error = i - x_hat

# %% tags=["hide-input", "hide-output"]
fig, ax = plt.subplots()
ax.plot(i, i.relu(), label="ReLU", **figures.neuron_style("ReLU"))
ax.plot(i, x_hat, label="IF neuron, $T = 8$, $V_{th} = 1$", **figures.neuron_style("IF"))
ax.axvline(1, color=figures.GREY, linestyle=":", linewidth=1.2)
ax.annotate("saturation\n$i = V_{th}$", (1, 0.25), xytext=(1.06, 0.2), color="#444444")
ax.set(xlabel="input current $i$", ylabel="output", xlim=(0, 2), ylim=(0, 2))
ax.legend(loc="upper left")
figures.show(
    fig,
    "figure-2a",
    alt="The ReLU is a straight line; the neuron follows it as a staircase from below and stays at 1 beyond input 1.",
    caption="Figure 2A of the paper: a ReLU and the neuron that stands for it. From $i = V_{th}$ on the neuron "
    "saturates: it fires at every timestep and cannot fire more.",
    data={"i": i, "relu": i.relu(), "if": x_hat},
)

fig, ax = plt.subplots()
granular = i <= 1
ax.fill_between(i[granular], error[granular], color=figures.SKY, alpha=0.6, label="granular: at most $V_{th}/T$")
ax.fill_between(i[~granular], error[~granular], color=figures.ORANGE, alpha=0.6, hatch="//", label="overload: no bound")
ax.plot(i, error, color=figures.BLACK, linewidth=1.2, linestyle="-")
ax.axhline(1 / 8, color=figures.GREY, linestyle="--", linewidth=1.2)
ax.set(xlabel="input current $i$", ylabel="error $x - \\hat x$", xlim=(0, 2), ylim=(0, 1.05))
ax.legend(loc="upper left")
figures.show(
    fig,
    "figure-2b",
    alt="The error is a sawtooth below one eighth up to input 1, then grows as fast as the input.",
    caption="Figure 2B of the paper: the error of that neuron. Below the threshold it is a sawtooth that stays under "
    "$V_{th}/T$ (dashed); above it the error grows as fast as the input.",
    data={"i": i, "error": error},
)

# %% tags=["hide-output"]
print(f"largest error for i <= 1: {error[granular].max().item():.4f}  (a step is {1 / 8})")
print(f"error at i = 3: {3 - staircase(torch.tensor([3.0]), 1.0, 8).item() / 8}")

# %% [markdown]
# Move the neuron yourself. Below, the error has two colours: granular while the neuron could still fire more, overload
# where it fires at every timestep. Which slider makes the first part lower? Which moves the place where the second one
# begins? And what does a start of half a threshold do to the error?

# %% tags=["remove-input"]
settled = torch.linspace(-0.25, 2, 901, dtype=torch.float64)
error_of_four = settled.relu() - staircase(settled, 1.0, 4) / 4
fig, ax = plt.subplots()
ax.plot(settled[settled < 1], error_of_four[settled < 1], color=figures.SKY)
ax.plot(settled[settled >= 1], error_of_four[settled >= 1], color=figures.ORANGE, linestyle="--")
ax.set(xlabel="current $i$", ylabel="error")
figures.show_moving(
    fig,
    {
        "panels": ["staircase", "error"],
        "values": {"i": 0.7, "threshold": 1.0, "T": 4},
        "ranges": {"i": [-0.25, 2, 0.01], "threshold": [0.1, 2, 0.01], "T": [1, 16, 1], "start": [0, 1, 0.05]},
        "range": [-0.25, 2],
        "sigma": 0.5,
    },
    neuron="IF",
    alt="Error of a neuron with four timesteps and the threshold 1: a sawtooth below one quarter up to a current of 1, then "
    "a straight line that rises without end.",
)

# %% [markdown]
# Below the threshold the error is **granular**: it comes from the width of the steps and is always less than one of
# them. Above, it is **overload**: the staircase has ended and the input goes on. The first is bounded, the second is
# not. `split_error` separates them for any sample of inputs:

# %%
figures.show_source(split_error)

# %% [markdown]
# ## One knob, two errors
#
# With $T$ fixed there is one knob, $V_{th}$. Turn it down: the steps become finer and the granular error smaller, but
# more inputs overload. Turn it up: nothing overloads, but the steps are coarse. (The authors weigh this error against
# the number of spikes, in networks that take noise out of images, in {cite:t}`castagnetti2023spiden`.) What is best
# depends on the inputs. As in the paper, let them be Gaussian, $i \sim N(0, \sigma^2)$ with $\sigma = 0.1$, and let
# $T = 4$.
#
# **Predict:** the paper starts at $V_{th} = 1$, ten standard deviations. How many spikes, of the four that it could send,
# does such a neuron send at most? And how good can its SQNR be if it leaves most of its five levels unused?

# %% tags=["hide-output"]
sigma, timesteps = 0.1, 4
generator = torch.Generator().manual_seed(0)
x = (sigma * torch.randn(200_000, generator=generator, dtype=torch.float64)).relu()


def decode(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """Estimate x from the spikes of a neuron with this threshold."""
    return threshold / timesteps * staircase(x, threshold, timesteps)


pd.DataFrame(
    [
        {
            "V_th": threshold,
            "in units of σ": threshold / sigma,
            "most spikes": int(staircase(x, threshold, timesteps).max()),
            "granular, 1e-4": 1e4 * split_error(x, decode(x, threshold), threshold).granular.item(),
            "overload, 1e-4": 1e4 * split_error(x, decode(x, threshold), threshold).overload.item(),
            "SQNR, dB": sqnr_db(x, decode(x, threshold)).item(),
        }
        for threshold in (1.0, 0.5, 0.25, 0.173, 0.1, 0.05)
    ]
).round(3).set_index("V_th").rename_axis(index=None, columns="V_th")

# %% [markdown]
# At $V_{th} = 1$ the first step is at 0.25, which is $2.5\,\sigma$: few inputs cause a spike, none of these 200,000
# causes two, and the noise is nearly as strong as the signal. At $V_{th} = 0.05$ most positive inputs overload, and
# almost all of the noise is overload. The best threshold lies between, where one error grows as fast as the other
# falls. (That is not where they are equal: at the best threshold the granular error is about twice the other.)
#
# ## The optimum, exactly
#
# Sampling is not needed. Let the *transition* $t_k$ be the input at which the count becomes $k$, and the *level*
# $\ell_k$ the estimate from there on; here $t_k = \ell_k = k V_{th} / T$. With $\ell_0 = t_0 = 0$ and $t_{T+1} = \infty$
# the noise under the density $\varphi$ of the current is
#
# $$ \sum_{k=0}^{T} \int_{t_k}^{t_{k+1}} (x - \ell_k)^2 \varphi(x)\,dx =
# \sum_{k=0}^{T} \big( M_{2,k} - 2 \ell_k M_{1,k} + \ell_k^2 M_{0,k} \big), \qquad
# M_{j,k} = \int_{t_k}^{t_{k+1}} x^j \varphi(x)\,dx. $$
#
# For a Gaussian the moments $M_{j,k}$ have a closed form; the library's function `cells` returns them.

# %% tags=["hide-cell"]
figures.show_source(sqnr)

# %% [markdown]
# So we can draw the SQNR as a function of the threshold, and let an optimizer find its peak to all digits. Measured in
# units of $\sigma$ the curve is the same for every $\sigma$.

# %%
best = {}
for T in (1, 2, 4, 8, 20):  # the optimizer is free to choose w = ln V_th, so V_th stays positive
    best[T] = maximise_sqnr(lambda w, steps=T: uniform_staircase(w[0].exp(), steps), guess=[0.5])

optimum = pd.DataFrame({"best V_th / σ": {T: o.levels[-1].item() for T, o in best.items()}})  # the last level is V_th
optimum["SQNR, dB"] = {T: o.sqnr_db for T, o in best.items()}
optimum.rename_axis(columns="T").round(3)

# %% tags=["hide-input"]
thresholds = torch.logspace(-0.6, 1.05, 300, dtype=torch.float64)
curves = {T: [gaussian_sqnr_db(*uniform_staircase(v, T)).item() for v in thresholds] for T in best}
fig, ax = plt.subplots(figsize=(6.4, 4.4))
for T, curve in curves.items():
    (line,) = ax.plot(thresholds, curve, label=f"$T = {T}$")
    ax.plot(best[T].levels[-1], best[T].sqnr_db, "o", color=line.get_color(), linestyle="none")
ax.plot([1], gaussian_sqnr_db(*uniform_staircase(torch.tensor(1.0), 4)), "s", color=figures.GREEN, linestyle="none")
ax.plot([10], curves[4][np.abs(thresholds.numpy() - 10).argmin()], "D", color=figures.GREEN, linestyle="none")
ax.set(xscale="log", xlabel="threshold $V_{th} / \\sigma$", ylabel="SQNR in dB", ylim=(-1, 27))
ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
ax.legend(ncols=3, loc="upper left")
figures.show(
    fig,
    "sqnr-against-threshold",
    alt="Five curves of SQNR against threshold, each with one peak that moves right and up as T grows from 1 to 20. For four "
    "timesteps it is at 1.73 standard deviations and 11.09 dB; the paper's start, at 10, lies far down the right slope.",
    caption="What a threshold is worth for Gaussian inputs. Left of each peak (dots) overload error decides, right of it "
    "granular error. On the curve for $T = 4$: the square is $V_{th} = \\sigma$, the diamond $V_{th} = 10\\,\\sigma$, "
    "where the paper starts.",
    data={"threshold_over_sigma": thresholds} | {f"T={T}": curve for T, curve in curves.items()},
)

# %% [markdown]
# {numref}`fig-sqnr-against-threshold` makes three claims of the paper precise:
#
# * For $T = 4$ the best threshold is **1.73 σ**, and it reaches **11.09 dB**. From $V_{th} = 1$, which is 10 σ and
#   0.45 dB, that is a gain of 10.65 dB with the same four timesteps.
# * At $V_{th} = \sigma$ it is 7.84 dB. The paper says that the learned threshold *approaches σ*; the optimum of its own
#   loss is nearly twice that.
# * If $V_{th} = 1$ is kept, $T = 20$ timesteps give 11.25 dB. So a good threshold is indeed worth five times as many
#   timesteps.

# %%
tenfold = torch.tensor(10.0, dtype=torch.float64)
print(f"V_th = 10 σ, T = 4:  {gaussian_sqnr_db(*uniform_staircase(tenfold, 4)).item():5.2f} dB")
print(f"V_th = 10 σ, T = 20: {gaussian_sqnr_db(*uniform_staircase(tenfold, 20)).item():5.2f} dB")
print(f"V_th = σ,    T = 4:  {gaussian_sqnr_db(*uniform_staircase(tenfold / 10, 4)).item():5.2f} dB")

# %% [markdown]
# ## What can go wrong
#
# **Forgetting the scale.** Eq. {eq}`eq-6` as printed decodes to a rate between 0 and 1. Compared with inputs of size
# 0.1 a rate of one quarter is far too large. How good can the *unscaled* rate be, at the best of all thresholds?

# %%
k = torch.arange(1, timesteps + 1, dtype=torch.float64)
unscaled = {
    v.item(): gaussian_sqnr_db(k * v / timesteps, k / timesteps, sigma).item() for v in torch.arange(0.01, 5, 0.01)
}
v = max(unscaled, key=unscaled.get)
print(f"rate not scaled by V_th: at most {unscaled[v]:.2f} dB, at V_th = {v:.2f}")

# %% [markdown]
# The numbers of the paper's Figure 3 need the scaled rate; with it its two claims, more than 10 dB and five times the
# timesteps, come out.
#
# **Believing decibels without asking of what.** Eq. {eq}`eq-8` can be computed over positive inputs or all of them, with
# $x = i$ or $x = \mathrm{ReLU}(i)$ as the truth. If negative inputs count as errors, no threshold can do better than
# 3 dB: half the power of $i$ is negative and never transmitted. Throughout this book the truth is $\mathrm{ReLU}(i)$.
#
# ## Exercises
#
# ```{exercise} A heavier tail
# :label: ex-laplace
# Let the inputs follow a Laplace distribution of the same standard deviation. Will the best threshold for $T = 4$ be
# larger or smaller than 1.73 σ? Guess, then search on a grid with `sqnr_db` and samples.
# ```
#
# ````{solution} ex-laplace
# :class: dropdown
# Larger, about 2.2 σ: the tail holds more of the power, so overload costs more than coarser steps do.
# ```python
# i = torch.distributions.Laplace(0.0, sigma / 2**0.5).sample((200_000,)).double()
# grid = torch.arange(0.1, 0.5, 0.002).tolist()
# max(grid, key=lambda v: sqnr_db(i.relu(), decode(i.relu(), v)).item()) / sigma
# ```
# ````
#
# ```{exercise} Six decibels a bit
# :label: ex-six-db
# An engineer's rule says that twice as many steps bring 6 dB. Compare $T = 4$ and $T = 8$ in the table of optima.
# Why is it less here?
# ```
#
# ```{solution} ex-six-db
# :class: dropdown
# It is 4.2 dB. The rule assumes inputs that never overload, spread evenly over a fixed range. Here the best threshold
# moves out from 1.73 σ to 2.16 σ as steps become available, and only part of the new levels makes the steps finer.
# ```
#
# ## Recap
#
# * SQNR compares the power of the signal with that of the rounding error.
# * Granular error is at most one step; overload error has no bound. The threshold trades one for the other.
# * For a Gaussian and $T = 4$ the optimum is $V_{th} = 1.73\,\sigma$ with 11.09 dB, 10.65 dB above $V_{th} =
#   10\,\sigma$ and about what $T = 20$ reaches there.
# * The rate must be scaled by $V_{th}$ to be an estimate of the input.
