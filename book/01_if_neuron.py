# %% [markdown]
# # The integrate-and-fire neuron is a quantizer
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how a ReLU becomes a spiking neuron (Eqs 1–6), why the number of its spikes is a *rounded* version
# of its input (Eq. 7), and what bias and threshold do to the rounding (Figure 1 of the paper).
#
# **Time:** 20 minutes to read, a few seconds to run on any laptop.
#
# **You need** a little Python. Nothing about neurons.
# :::
#
# A neuron in a deep network passes on a number. A {term}`spiking neuron <integrate-and-fire neuron>` passes on a *yes*
# or a *no*, again and again, for $T$ timesteps. {cite:t}`castagnetti2023trainable` start from one observation: to count
# the yeses of such a neuron is to round its input to one of $T+1$ values. A signal that is rounded to a few values is
# called *quantized*, and engineers have known for seventy years how to quantize well
# {cite:p}`gersho1992vector,widrow2008quantization`. This book follows the paper from there, equation by equation, and
# every number of its own is made by the cells that you see, or read from the record of a run.

# %%
import pandas as pd
import torch
from matplotlib import pyplot as plt

from atif_lib.neurons import IF
from atif_lib.quantization import spike_counts, staircase
from atif_lib.results import figures

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## From a ReLU to spikes
#
# A layer of an ordinary network multiplies its input by weights, adds a bias, and applies an activation $h$:
#
# $$ y^l = h(x^l W^l + b^l), \qquad l \in [1, n] \tag{1} $$ (eq-1)
#
# with $h(x) = \max(0, x)$, the ReLU. To make the layer spike, replace $h$ by an *integrate-and-fire* neuron. It owns
# one number, the **membrane potential** $V$. At each timestep $t$ a current $i^l(t)$ flows in,
#
# $$ H^l(t) = V^l(t-1) + i^l(t) \tag{2} $$ (eq-2)
#
# $$ i^l(t) = z^{l-1}(t)\, W^l + b^l \tag{3} $$ (eq-3)
#
# and when the membrane has reached the **threshold** $V_{th}$ the neuron fires: $z = 1$, else $z = 0$,
#
# $$ z^l(t) = \Theta\big(H^l(t) - V_{th}\big) \tag{4} $$ (eq-4)
#
# where $\Theta$ is the Heaviside step, $\Theta(0) = 1$. ($l$ numbers the layers: $z^{l-1}$ are the spikes of the layer
# before. Current summed over timesteps is called charge.) A spike costs one threshold of charge. The rest stays:
#
# $$ V^l(t) = H^l(t)\,\big(1 - z^l(t)\big) + \big(H^l(t) - V_{th}\big)\, z^l(t) \tag{5} $$ (eq-5)
#
# This is the **soft reset**. (A *hard* reset would set $V$ to zero and throw the remainder away.) In Python the whole
# neuron is a loop of four lines:


# %%
def count_spikes(current: float, threshold: float, timesteps: int) -> int:
    """Count the spikes of a neuron under a constant current."""
    membrane, spikes = 0.0, 0
    for _ in range(timesteps):
        membrane += current  # Eq. 2: the current flows in
        if membrane >= threshold:  # Eq. 4: the neuron fires
            membrane -= threshold  # Eq. 5: and pays for it
            spikes += 1
    return spikes


count_spikes(current=0.6, threshold=1.0, timesteps=4)

# %% [markdown]
# Two spikes: the membrane reaches 1.2 at $t = 2$ and keeps 0.2, then it reaches 1.4 at $t = 4$.
#
# The library does the same for many inputs at once, with a threshold for each timestep. It also refuses bad input, and
# it adds up without rounding errors ("What can go wrong" says why that matters). A test holds the two equal.

# %% tags=["hide-cell"]
figures.show_source(spike_counts)

# %% [markdown]
# :::{note}
# In Eq. {eq}`eq-3` the input $z^{l-1}(t)$ is 0 or 1. So $z\,W$ needs no multiplication: a weight is added or it is not.
# This is how a spiking chip saves energy, and why the signal between layers has to stay binary.
# :::
#
# ## Watch one neuron
#
# Let a constant current of $i = 0.3$ flow into a neuron with $V_{th} = 1$ for $T = 8$ timesteps.
#
# **Predict** before you look: in which timesteps does it fire?

# %% tags=["hide-input", "hide-output"]
current, threshold, timesteps = 0.3, 1.0, 8
rows, membrane = [], 0.0
for t in range(1, timesteps + 1):
    height = membrane + current
    spike = int(height >= threshold)
    membrane = height - threshold * spike
    rows.append({"t": t, "H": height, "z": spike, "V": membrane})
trace = pd.DataFrame(rows)

fig, (top, bottom) = plt.subplots(2, sharex=True, height_ratios=[3, 1], figsize=(6.4, 4.2))
top.bar(trace.t, trace.H, width=0.7, color=figures.SKY, label="$H(t)$, before the reset")
top.bar(trace.t, trace.V, width=0.7, color=figures.BLUE, label="$V(t)$, after it")
top.axhline(threshold, color=figures.VERMILION, linestyle="--", label="threshold $V_{th}$")
top.set(ylabel="membrane", ylim=(0, 1.75))
top.legend(loc="upper left", ncols=2)
bottom.vlines(trace.t[trace.z == 1], 0, 1, color=figures.BLACK, linewidth=3, linestyle="-")
bottom.set(xlabel="timestep $t$", ylabel="spike $z$", yticks=[0, 1], xlim=(0.3, 8.7))
figures.show(
    fig,
    "membrane",
    alt="Bar chart of the membrane before and after the reset over 8 timesteps; it climbs by 0.3 a step and spikes at "
    "timesteps 4 and 7.",
    caption="A constant current of 0.3 charges the membrane. At $t = 4$ it passes the threshold: the neuron fires and "
    "keeps the 0.2 that is left over, so the next spike comes after three timesteps instead of four, at $t = 7$.",
    data=trace,
)

# %% [markdown]
# The second spike comes sooner after the first than the first after the start: the soft reset remembers what was left
# over. After eight timesteps the neuron has taken in a charge of $8 \times 0.3 = 2.4$, paid out two thresholds as
# spikes, and still holds $0.4$:

# %%
trace.set_index("t").T.round(1)

# %% [markdown]
# ## Decoding: what did the spikes say?
#
# To *decode* is to estimate the input of a neuron from its spikes. The receiver sees nothing else. It takes their
# average, the **firing rate**:
#
# $$ y^l_s = \frac{1}{T} \sum_{t=1}^{T} z^l(t) \tag{6} $$ (eq-6)
#
# Here that is $2/8 = 0.25$, an estimate of the current $0.3$. The rate lies between 0 and 1 whatever the threshold is,
# and a rate of 1 stands for the current $V_{th}$. So to *estimate the current* the rate is multiplied by $V_{th}$:
#
# $$ \hat x = \frac{V_{th}}{T} \sum_{t=1}^{T} z(t) $$
#
# In a network nobody does this multiplication: the next layer's weights absorb it. But whenever we ask how far the
# estimate is from the truth, we need it. The paper leaves the scale out of Eq. {eq}`eq-6`; with $V_{th} = 1$, as in
# its Figures 1 and 2, it makes no difference. [](02_quantization_error.py) shows how much it matters elsewhere. (The
# neurons of the library have a method for it, `decode`.)

# %%
print(f"rate {trace.z.mean():.2f}, estimate {threshold * trace.z.mean():.2f}, current {current}")

# %% tags=["hide-cell"]
figures.show_source(IF.decode)

# %% [markdown]
# ## Eq. 7: how many spikes?
#
# We can count them without a simulation. **Charge is conserved**: what flowed in went out as spikes or is still there,
#
# $$ V(0) + \sum_{t=1}^{T} i(t) = V_{th} \sum_{t=1}^{T} z(t) + V(T). $$
#
# Let the current be constant, with $0 \le i \le V_{th}$, and let the membrane start empty. If $0 \le V(t-1) <
# V_{th}$, then $0 \le H(t) < 2 V_{th}$, and after the reset again $0 \le V(t) < V_{th}$. So $0 \le V(T) < V_{th}$.
# With $m$ spikes the balance reads $T i = m V_{th} + V(T)$. Divided by $V_{th}$, it is $T i / V_{th} = m + V(T) /
# V_{th}$: a whole number and something from 0 to below 1. So $m$ is $T i / V_{th}$ *rounded down*. A current above
# $V_{th}$ makes a spike at every step and no more than that; a negative current makes none. Together:
#
# $$ \sum_{t=1}^{T} z(t) = \min\left\{ T,\ \max\left\{ 0,\ \left\lfloor \frac{\sum_{t=1}^{T} z^{l-1}(t)\,W^l + b\,T}
# {V_{th}} \right\rfloor \right\} \right\} \tag{7} $$ (eq-7)
#
# Above the fraction bar stands the charge, which for a constant current is $T i$.
#
# :::{admonition} Floor and clip
# :class: note
# Our copy of the paper shows Eq. 7 without the rounding and without the lower bound. It has lost other signs, too, so
# the brackets of the floor may be lost as well. Without them the equation would give $-8$ spikes for $i = -1$ and 2.4
# spikes for our neuron. What the paper describes in words and draws in Figure 1 is the staircase above.
# :::

# %% tags=["hide-cell"]
figures.show_source(staircase)

# %% [markdown]
# **Predict:** for $T = 8$ and $V_{th} = 1$, how wide is a step, and which inputs does the neuron not tell from 0?

# %% tags=["hide-output"]
i = torch.linspace(-0.5, 1.5, 20001, dtype=torch.float64)
counts = staircase(i, threshold=1.0, timesteps=8)
simulated = spike_counts(i, torch.ones(8, dtype=torch.float64))

pd.Series(
    {
        "different outputs": counts.unique().numel(),
        "first spike at i =": i[counts >= 1].min().item(),
        "all spikes from i =": i[counts == 8].min().item(),
        "inputs where formula and simulation differ": int((counts != simulated).sum()),
    },
    dtype=object,  # else whole numbers get decimals
).to_frame("T = 8, V_th = 1")

# %% [markdown]
# There are $T + 1$ outputs, because zero spikes is an answer too. Each step is $V_{th}/T = 0.125$ wide. Inputs below
# the first step, negative ones included, make no spike: the neuron does not tell them from 0. The formula
# and the simulation agree at every one of 20,001 inputs. A spiking neuron under a constant current *is* a uniform
# quantizer of its input, clipped at zero and at $V_{th}$: a ReLU that is rounded down and has a ceiling.
#
# ## What bias and threshold do (Figure 1)
#
# A network learns weights and biases, and in this book thresholds. The bias $b$ flows in at every timestep.
#
# **Predict:** a bias of $+0.25$ moves the staircase. Up or down, left or right, and how far?

# %%
i = torch.linspace(-0.5, 1.5, 4001, dtype=torch.float64)
by_bias = {b: staircase(i + b, 1.0, 8) / 8 for b in (0.25, 0.0, -0.25)}
by_threshold = {v: staircase(i, v, 8) / 8 for v in (0.75, 1.0, 1.25)}

# %% tags=["hide-input", "hide-output"]
for name, curves, symbol, alt, caption in [
    (
        "figure-1a",
        by_bias,
        "b",
        "Three staircases of the firing rate against the input current, shifted by a quarter to either side.",
        "Figure 1A of the paper: the quantization function for three biases ($T = 8$, $V_{th} = 1$). A bias moves the "
        "staircase sideways, by $-b$, and changes no step.",
    ),
    (
        "figure-1b",
        by_threshold,
        "V_{th}",
        "Three staircases of the firing rate against the input current; each reaches 1 where the current equals its "
        "threshold 0.75, 1 or 1.25.",
        "Figure 1B of the paper: the quantization function for three thresholds ($T = 8$, $b = 0$). The threshold "
        "sets the width of every step, $V_{th}/T$, and with it the slope; the rate reaches 1 at $i = V_{th}$ (dots).",
    ),
]:
    fig, ax = plt.subplots()
    for value, rate in curves.items():
        (line,) = ax.plot(i, rate, label=f"${symbol} = {value:g}$")
        if symbol == "V_{th}":
            ax.plot(value, 1, "o", color=line.get_color(), linestyle="none", markersize=7)
    ax.set(xlabel="input current $i$", ylabel="firing rate $y_s$", xlim=(-0.5, 1.5), ylim=(-0.04, 1.08))
    ax.legend(loc="upper left")
    table = pd.DataFrame({"i": i} | {f"{symbol}={v:g}": rate for v, rate in curves.items()})
    figures.show(fig, name, alt=alt, caption=caption, data=table)

# %% [markdown]
# Bias and threshold do different things. The bias chooses *where* the ReLU's corner lies, as in any network. The
# threshold chooses *which inputs can be told apart*: a low threshold gives fine steps and an early ceiling, a high one
# gives coarse steps and a late ceiling. The whole paper is about this trade-off, and
# [the next chapter](02_quantization_error.py) measures it.

# %% [markdown]
# ## Move it
#
# On the book's website the neuron below has sliders. Move one at a time, and guess first what will change. Where are
# the steps of the staircase (the number of spikes against the current) when $V_{th}$ falls? What does a bias do? And
# how much better does the estimate, in the right-hand panel, become with more timesteps? ($V(0)$ is what the membrane
# holds before the first timestep.)

# %% tags=["remove-input"]
first = {"i": 0.7, "threshold": 1.0, "b": 0.0, "T": 4, "start": 0.0}
grid = torch.linspace(-0.5, 1.5, 801, dtype=torch.float64)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2))
heights, v = [], 0.0
for _ in range(first["T"]):
    heights.append(v + first["i"])
    v = heights[-1] - (heights[-1] >= first["threshold"])
left.plot(range(1, 5), heights, "o-", color=figures.neuron_style("IF")["color"])
left.axhline(first["threshold"], color=figures.BLACK, linestyle=":")
left.set(xlabel="timestep $t$", ylabel="membrane $H(t)$", xticks=range(1, 5))
counts = spike_counts(grid, torch.ones(first["T"], dtype=torch.float64))
right.plot(grid, grid.relu(), color=figures.GREY, linestyle=":")
right.plot(grid, counts / first["T"], **figures.neuron_style("IF"))
right.set(xlabel="current $i + b$", ylabel="estimate")
figures.show_moving(
    fig,
    {
        "values": first,
        "ranges": {"i": [-0.5, 1.5, 0.01], "threshold": [0.1, 1.5, 0.01], "b": [-0.5, 0.5, 0.01], "T": [1, 16, 1],
                   "start": [0, 1, 0.05]},
        "range": [-0.5, 1.5],
        "sigma": 0.5,
    },
    neuron="IF",
    alt="Membrane of a neuron over four timesteps with the current 0.7 and the threshold 1, and its staircase of five "
    "levels beside the ReLU.",
)  # fmt: skip

# %% [markdown]
# ## What can go wrong
#
# **The current is not constant.** Eq. {eq}`eq-7` looks as if only the *sum* of the current mattered. But its derivation
# used more: the membrane ends between zero and one threshold. If the same charge arrives late, it ends higher; if
# charge is taken back, it ends below zero:

# %%
neuron = IF(timesteps=4, threshold=1.0, step_mode="m")  # "m": all timesteps in one call, input of shape [T, N]
steady = torch.tensor([0.5, 0.5, 0.5, 0.5])
late = torch.tensor([0.0, 0.0, 0.0, 2.0])
early_then_negative = torch.tensor([1.0, 1.0, 0.0, -1.0])
spikes = {}
for name, current in [("steady", steady), ("late", late), ("up, then down", early_then_negative)]:
    neuron.reset()
    spikes[name] = neuron(current.view(4, 1)).flatten().int().tolist()
table = pd.DataFrame(spikes, index=[f"t={t}" for t in range(1, 5)]).T
table.assign(
    total_charge=[steady.sum().item(), late.sum().item(), early_then_negative.sum().item()], count=table.sum(axis=1)
)

# %% [markdown]
# The charge that arrives late is worth two spikes, and there is time for only one. In the last row two spikes are sent
# before the charge is taken back, and a spike cannot be called back. Both happen in a deep network, where the current
# of a layer is made of the spikes of the layer before. {cite:t}`li2022qffs` call this *occasional noise*. This book
# trains with the spikes in the loop, so the network can learn to live with it.
#
# **Sums of decimals.** Ten times 0.1 should make one whole spike. In floating point it does not:

# %%
tenth = torch.tensor([0.1], dtype=torch.float64)
naive = sum([0.1] * 10)
print(f"added up ten times: {naive!r}, a spike: {naive >= 1.0}")
print(f"spike_counts: {spike_counts(tenth, torch.ones(10, dtype=torch.float64)).item()} spike")

# %% [markdown]
# `spike_counts` carries the membrane in two halves whose sums are exact, so simulation and closed form agree even on
# the edges of the steps. The trainable neurons of later chapters add up in plain floating point like every other
# layer; a rounding there moves a step by a ten-millionth, which no training notices.
#
# ## Exercises
#
# ```{exercise} Start half full
# :label: ex-half-full
# Let the membrane start at $V(0) = V_{th}/2$ instead of 0. Redo the argument of charge conservation: how does Eq. 7
# change? Which inputs are now rounded *up*? Check yourself with the argument `v0=0.5` of `staircase`.
# ```
#
# ```{solution} ex-half-full
# :class: dropdown
# The charge in the balance grows by $V_{th}/2$, so the count is $\lfloor T i/V_{th} + 1/2 \rfloor$ between its clips:
# the input is rounded to the *nearest* step instead of down. Every transition moves half a step to the left, and the
# error, which lay between 0 and one step, now lies between minus and plus half a step: inputs in the upper half of a
# step are rounded up. It needs no parameter, but it makes more spikes: at the same threshold about half a spike more
# for each positive input, where nothing clips. (With the best threshold for each start, which Chapter 2 finds, it is about a
# tenth more for a Gaussian and $T = 4$.)
# [](05_nonuniform_thresholds.py) shows that it is worth more than all the learned non-uniformity.
# ```
#
# ```{exercise} Reset to zero
# :label: ex-hard-reset
# With a *hard* reset the neuron sets $V = 0$ after each spike. Show that under a constant current it fires every
# $\lceil V_{th}/i \rceil$ timesteps. How many different outputs does it have for $T = 8$?
# ```
#
# ```{solution} ex-hard-reset
# :class: dropdown
# The membrane starts from zero after each spike, so every interval is the same, $k = \lceil V_{th}/i \rceil$ timesteps,
# and the count is $\lfloor T/k \rfloor$. For $T = 8$ that is 8, 4, 2, 2, 1, 1, 1, 1 for $k = 1 \dots 8$ and 0 beyond:
# five outputs (0, 1, 2, 4, 8) instead of nine. All that was left over at each reset is lost, and the staircase is
# coarsest where inputs are large.
# ```
#
# ## Recap
#
# * An integrate-and-fire neuron with soft reset adds up current and pays it out in spikes worth $V_{th}$ each.
# * Charge is conserved, so under a constant current the spike count is $T i/V_{th}$, rounded down and clipped to
#   $[0, T]$: a uniform quantizer with $T+1$ levels and steps of $V_{th}/T$.
# * The bias shifts the staircase; the threshold sets its step and its ceiling, which come together.
# * To estimate the current, scale the rate by $V_{th}$. For unsteady currents Eq. 7 is only approximate.
