# %% [markdown]
# # How good can T spikes be?
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** the least error that any staircase of $T + 1$ levels can have, how near each kind of neuron comes
# to it, why a membrane that starts half full comes so near, and how much of this is left where a next layer can rescale
# and shift. Nothing here is in the paper.
#
# **Time:** 25 minutes to read, about ten seconds to run on any laptop.
#
# **You need** [](02_quantization_error.py) and the last part of [](05_nonuniform_thresholds.py).
# :::

# %%
import math

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt

from atif_lib.quantization import split_error
from atif_lib.quantization.density import GAUSSIAN, LAPLACE, empirical, sqnr
from atif_lib.quantization.families import ladder
from atif_lib.quantization.lloyd_max import lloyd_max, lloyd_max_free, lloyd_max_samples
from atif_lib.results import figures
from atif_lib.results.records import records_of

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## The best staircase there is
#
# Take any quantizer of a density $\varphi$ with levels $\ell_0 = 0 < \ell_1 < \dots < \ell_T$ and transitions
# $t_1 < \dots < t_T$. (No spike means 0 here, as for a ReLU; further down $\ell_0$ will be free.) When is it the best?
# Two conditions are easy to see. For given levels, each input should go to the *nearest* one. For given transitions,
# each level should be the *mean* of the inputs that it stands for:
#
# $$ t_k = \tfrac12\,(\ell_{k-1} + \ell_k), \qquad \ell_k = E[\,x \mid t_k \le x < t_{k+1}\,] $$
#
# for $k = 1, \dots, T$, with $t_{T+1} = \infty$. These are the conditions of {cite:t}`lloyd1982least` and
# {cite:t}`max1960quantizing`. For a density whose logarithm is concave, as that of a Gaussian is, only one quantizer
# meets them {cite:p}`trushkin1982sufficient`. So it is enough to solve the equations.

# %% tags=["hide-cell"]
figures.show_source(lloyd_max)

# %% [markdown]
# ### Check it against a printed table
#
# Max printed the distortion $E[(x - \hat x)^2]$ of the best quantizers of a whole Gaussian of unit power: 0.1175 for
# 4 levels, 9.30 dB, and 0.03454 for 8 levels, 14.62 dB.
#
# **Predict:** our signal is $\mathrm{ReLU}(i)$, one half of a Gaussian, and our quantizers have the level 0. To how
# many levels in Max's table does $T = 4$ correspond?

# %% tags=["hide-output"]
table = []
for levels in (3, 4, 5, 7, 8, 9, 17):
    best = lloyd_max(GAUSSIAN, levels // 2, zero=levels % 2 == 1)
    table.append({"levels": levels, "distortion": 10 ** (-best.sqnr_db / 10), "SQNR, dB": best.sqnr_db})
pd.DataFrame(table).set_index("levels").round({"distortion": 5, "SQNR, dB": 2})

# %% [markdown]
# It corresponds to nine levels. By symmetry the best quantizer of the whole Gaussian with an odd number of levels has
# one at 0, and its positive half is the best for $\mathrm{ReLU}(i)$; signal and noise are both halved. So a *count* of
# up to $T$ spikes is worth at most $2T + 1$ levels of the table, and the limit that Chapter 5 gave, 15.55 dB for $T = 4$,
# was printed in 1960.
#
# ## The ladder
#
# Below this limit are the staircases that a neuron makes; those with an offset, the last two rows, lie below the limit with
# all levels free. An *affine* decoding is one with a gain and an offset $b$. With
# $\Delta = V_{th}/T$ the gain is written $g\Delta$ here, so that $g = 1$ is the neuron's own decoding:
#
# | staircase | steps at | outputs |
# |:--|:--|:--|
# | uniform, the paper's ATIF-u | $k\Delta$ | $k\Delta$ |
# | the same, decoded with a free gain $g$ | $k\Delta$ | $g\,k\Delta$ |
# | non-uniform, rate times $p_1$: ATIF-nu with our decode ([](05_nonuniform_thresholds.py)) | free, the last is $p_1 = T\Delta$ | $k\Delta$ |
# | uniform with a half-step start | $(k - \frac12)\Delta$ | $k\Delta$ |
# | empty start, affine decoding | $k\Delta$ | $g\,k\Delta + b$, also for $k = 0$ |
# | half-step start, affine decoding | $(k - \frac12)\Delta$ | $g\,k\Delta + b$, also for $k = 0$ |
#
# In the third row the outputs are evenly spaced, so the best free transitions are the middles, and only the last is
# tied. That leaves one free number in each row, and a bounded search finds its best; $g$ and $b$ have a closed form.
#
# **Predict:** at $T = 4$ the half-step start is 0.42 dB below the limit. Will this distance be larger or smaller at
# $T = 16$?

# %%
T = 4
rungs = {
    **ladder(GAUSSIAN, T),
    "Lloyd–Max, one level 0": lloyd_max(GAUSSIAN, T),
    "Lloyd–Max, all levels free": lloyd_max_free(GAUSSIAN, T),
}
fixed = 10 * torch.arange(1.0, T + 1) / T  # the paper's start, V_th = 10 σ
gaussian = {"fixed, V_th = 10 σ": sqnr(GAUSSIAN, fixed, fixed).item()} | {name: o.sqnr_db for name, o in rungs.items()}
pd.Series(gaussian, name="SQNR at T = 4, dB").to_frame().round(2)

# %% tags=["hide-output"]
record = records_of("limits-ladder", "laptop")[0].result
columns = {
    "uniform": "uniform_db",
    "free gain": "uniform_decode_gain_db",
    "non-uniform, rate · p1": "non_uniform_rate_p1_db",
    "half-step start": "uniform_half_step_start_db",
    "Lloyd–Max": "lloyd_max_db",
    "half step gains": "half_step_over_uniform_db",
    "left for any other": "lloyd_max_over_half_step_db",
}
AFFINE = {
    "empty start, affine": "uniform_affine_decode_db",
    "half-step start, affine": "half_step_start_affine_decode_db",
    "Lloyd–Max, all levels free": "lloyd_max_all_levels_free_db",
    "half step gains, affine": "half_step_over_uniform_affine_db",
}
sizes = range(1, 17)
by_size = pd.DataFrame({name: record[key] for name, key in columns.items()}, index=pd.Index(sizes, name="T"))
by_size.round(2)

# %% tags=["hide-input", "hide-output"]
fig, ax = plt.subplots(figsize=(6.4, 4.6))
of = {
    "uniform": "ATIF-u",
    "free gain": "quantized",
    "non-uniform, rate · p1": "ATIF-nu",
}  # the gain has no style of its own
for name in list(columns)[:5]:
    style = figures.neuron_style(of.get(name, name))
    ax.plot(by_size.index, by_size[name], marker="o", markersize=4, label=name, **style)
ax.set(xlabel="timesteps $T$", ylabel="best SQNR in dB", xticks=[1, 2, 4, 6, 8, 10, 12, 14, 16], ylim=(0, 27.5))
ax.legend(loc="lower right")
figures.show(
    fig,
    "limits-ladder",
    alt="Five curves of best SQNR against the number of timesteps. Uniform is lowest, a free gain adds about two "
    "and a half decibels. Non-uniform begins at the uniform one and comes within half a decibel of the half-step start from four "
    "timesteps on. Lloyd-Max is slightly higher.",
    caption="The best SQNR of each kind of staircase on the positive part of a Gaussian. All that "
    "lies between the half-step start and the limit is left for any other count with a level at 0.",
    data=by_size[list(columns)[:5]].reset_index(),
)

# %% [markdown]
# Look at the last two columns. A half-step start gains between 2.5 and 4.9 dB without any parameter. Take *any*
# staircase with $T + 1$ levels **of which one is 0**, however well its thresholds are learned. What it can gain beyond
# the half step is nothing at $T = 1$, 0.42 dB at $T = 4$, and grows slowly to 1.5 dB at $T = 16$: of many uniform
# steps, more and more lie in the tail, where few inputs are.
#
# ## In a network: gain and offset at no cost
#
# So far a neuron was judged by itself: $k$ spikes mean $k\Delta$. In a network no layer reads spikes that way. The next
# layer multiplies them by its weights and adds its bias, so it has a gain $g$ and an offset $b$ at no cost, and can
# correct any estimate that is wrong by a gain and an offset. A fair comparison of two neurons in a network gives both
# of them the best **affine decoding**, $g k \Delta + b$.
#
# **Predict:** Chapter 5 left 1.08 of 4.04 dB at $T = 4$. What is left at $T = 1$, and at $T = 16$?

# %% tags=["hide-output"]
affine = pd.DataFrame({name: record[key] for name, key in AFFINE.items()}, index=by_size.index)
affine.round(2)

# %% [markdown]
# Nothing at $T = 1$, **1.08 dB** of 4.04 at $T = 4$, and 1.84 of 4.86 at $T = 16$. At $T = 4$ three quarters of the
# gain of the half step come from how the spikes are read, and weights and biases behind the neuron can do the same.
# The rest comes from the place of the transitions: the first one is at $\Delta$ or, with a half step, at
# $\frac12\Delta$, where the density is higher. At $T = 1$ there is one transition, the threshold puts it anywhere,
# and nothing is left. A network can even learn this last decibel without a change of the neuron: a bias of
# $\frac12\Delta$ in the layer's own current moves all transitions by half a step (Figure 1A of the paper), and a
# batch normalisation has such a bias. So the half step may give training a better *start*, but to the counts of
# constant currents it adds no function.
#
# An offset also lets the lowest level leave 0: half of all currents are negative and some of the positive ones are
# below the first transition, so that the best answer to no spike is a little above 0. With all $T + 1$ levels free
# the limit is slightly higher, by 0.38 dB at $T = 1$ and 0.06 dB at $T = 4$. (Now $\ell_0$ moves, and the signal has
# half of its mass at 0. It has no log-concave density, so the theorem above does not apply directly. For a Gaussian
# there is still only one solution. The proof of {cite:t}`trushkin1982sufficient` needs that the mean of a cell rises
# less than its upper edge does. For the lowest cell, $d\ell_0 / dt_1 = \varphi(t_1)(t_1 - \ell_0) / P(i < t_1) \le 2
# \max_t t\,\varphi(t) = 0.48 < 1$, because $P(i < t_1) \ge \frac12$.)
#
# ## Why the half step should give 6 dB, and gives 4
#
# Let the steps be so fine that the density is flat within each of them. A neuron that starts empty rounds *down*: its
# error is uniform on $[0, \Delta)$. One that starts half full rounds to the *nearest*: uniform on
# $[-\frac12\Delta, \frac12\Delta)$.
#
# $$ E[e^2] = \frac1\Delta \int_0^{\Delta} e^2\,de = \frac{\Delta^2}{3}, \qquad
# E[e^2] = \frac1\Delta \int_{-\Delta/2}^{\Delta/2} e^2\,de = \frac{\Delta^2}{12}. $$
#
# With the same steps the noise is a quarter, which is $10\log_{10} 4 = 6.02$ dB. Of the $\Delta^2/3$ three quarters,
# $(\frac12\Delta)^2$, are the square of the *mean* error: every input is underestimated, by half a step on average.
# (Statisticians call this a bias; it is not the bias $b$ of a layer.)
#
# But that is only the granular error. The best threshold of each neuron balances granular and overload error. Here is
# that balance at $T = 4$.

# %%
x = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000).relu()
half_step = rungs["uniform, half-step start"]
uniform = rungs["uniform"]


def parts(transitions: np.ndarray, levels: np.ndarray) -> dict[str, float]:
    """Granular and overload error of a staircase, in thousandths of the signal's power, and its SQNR."""
    outputs = torch.cat([torch.zeros(1, dtype=torch.float64), torch.as_tensor(levels)])
    x_hat = outputs[torch.bucketize(x, torch.as_tensor(transitions), right=True)]
    split = split_error(x, x_hat, float(levels[-1]))
    errors = {name: 1e3 * part.item() / 0.5 for name, part in split._asdict().items()}
    return errors | {"SQNR, dB": -10 * math.log10(sum(errors.values()) / 1e3)}


pd.DataFrame(
    {
        "empty start, its best V_th": {
            "V_th / σ": uniform.levels[-1].item(),
            **parts(uniform.transitions, uniform.levels),
        },
        "half-step start, same V_th": {
            "V_th / σ": uniform.levels[-1].item(),
            **parts(uniform.transitions - uniform.levels[0] / 2, uniform.levels),
        },
        "half-step start, its best V_th": {
            "V_th / σ": half_step.levels[-1].item(),
            **parts(half_step.transitions, half_step.levels),
        },
    }
).T.round(2)

# %% [markdown]
# Moving the start alone divides the granular error, here that of inputs below $V_{th}$, by almost four, as derived. The
# overload error does not change, and is now the larger one: so at the same threshold the gain is only 2.99 dB. A higher
# threshold, 2.14 σ instead of 1.73 σ, lets the granular error grow and makes the overload error much smaller: 4.04 dB in
# all. The finer the steps, the less overload matters at the optimum, and the nearer the gain comes to 6.02 dB.

# %%
gain = by_size["half step gains"]
print(", ".join(f"T = {t}: {gain[t]:.2f} dB" for t in (1, 2, 4, 8, 16)))

# %% [markdown]
# ## Other densities
#
# Is this a matter of the Gaussian? A Laplace density has a sharper peak and a heavier tail. (As always the signal is
# $\mathrm{ReLU}(i)$: only the positive half of the density counts, and half of the mass lies at 0.)

# %%
laplace = {name: o.sqnr_db for name, o in ladder(LAPLACE, T).items()}
laplace |= {
    "Lloyd–Max, one level 0": lloyd_max(LAPLACE, T).sqnr_db,
    "Lloyd–Max, all levels free": lloyd_max_free(LAPLACE, T).sqnr_db,
}
laplace = {"fixed, V_th = 10 σ": sqnr(LAPLACE, fixed, fixed).item()} | laplace
pd.DataFrame({"Gaussian": gaussian, "Laplace": laplace}).round(2)

# %% [markdown]
# The order of the staircases is the same, and the half step gives most here too, 3.3 of the 4.5 dB to the limit. But the
# widths of the steps matter more: 1.2 dB lie between the half-step start and the limit, against 0.4 for the Gaussian. So
# the paper's intuition, more steps where the inputs are, has more in it for a density with a sharper peak.
#
# The currents of a network follow no formula. For measured values the best *cells*, the intervals between the
# transitions, can be found exactly by dynamic programming over the sorted values {cite:p}`wang2011ckmeans`. On 5,000
# draws from a Gaussian the levels should come near those of the formula:

# %%
draws = np.random.default_rng(0).normal(size=5000)
measured = lloyd_max_samples(draws, T)
pd.DataFrame(
    {
        "levels of the samples": measured.levels,
        "levels of the density": rungs["Lloyd–Max, one level 0"].levels,
    },
    index=pd.Index(range(1, T + 1), name="level"),
).T.round(3)

# %% [markdown]
# How inexact is a number from 5,000 draws? Draw again and again:

# %%
repeated = [
    ladder(empirical(np.random.default_rng(seed).normal(size=5000)), T)["uniform"].sqnr_db for seed in range(1, 31)
]
print(f"uniform on these samples:    {ladder(empirical(draws), T)['uniform'].sqnr_db:.2f} dB")
print(f"uniform on 30 other samples: {np.mean(repeated):.2f} ± {np.std(repeated, ddof=1):.2f} dB (standard deviation)")
print(f"uniform on the density:      {uniform.sqnr_db:.2f} dB")

# %% [markdown]
# Our first draw was an unusual one. With 5,000 values already the first digit after the point is uncertain.

# %% [markdown]
# ## What can go wrong
#
# **Comparing neurons without saying how they are decoded.** The half step gains 4.04 dB or 1.08, depending on what
# reads the spikes.
#
# **Taking a local optimum for the limit.** The two conditions are necessary, not sufficient. A density with two peaks
# can have several quantizers that meet them. For measured values the dynamic programme always finds the best one.
#
# **Tuning to the sample.** On a few samples the optimum is better than the limit of their density, because the levels
# fit what is accidental in the draw:

# %%
few = lloyd_max_samples(draws[:40], T)
limit = rungs["Lloyd–Max, one level 0"].sqnr_db
print(f"best staircase on 40 samples: {few.sqnr_db:.2f} dB on them; the limit of the density is {limit:.2f} dB")

# %% [markdown]
# ## Exercises
#
# ```{exercise} A bias, or a scale?
# :label: ex-bias
# A free gain at $T = 4$ is worth 2.5 dB over the uniform neuron, the half-step start 4.0. Both correct the same bias.
# Why does the gain correct less of it?
# ```
#
# ```{solution} ex-bias
# :class: dropdown
# Below saturation the bias is about half a step for each output. A gain adds in proportion to the output,
# $(g-1)k\Delta$: too little at one spike, too much at three. And where the answer is 0 it does nothing, while the
# half-step start moves the first transition down to $\frac12\Delta$.
# ```
#
# ```{exercise} One timestep
# :label: ex-one-timestep
# At $T = 1$ three staircases coincide at 7.21 dB. Which, and why?
# ```
#
# ```{solution} ex-one-timestep
# :class: dropdown
# Free gain, half-step start and Lloyd–Max with a level at 0. A staircase of one step that starts at 0 has two
# numbers, transition and level, and the best level is twice the best transition. A gain of 2 and a half-step start both
# give exactly this pair. The three staircases with an offset coincide too, at 7.59 dB.
# ```
#
# ## Recap
#
# * The least error of a staircase with a level at zero is that of Lloyd and Max; a count of up to $T$ spikes is worth at
#   most $2T+1$ levels of Max's table. With the lowest level free the least error is slightly smaller still.
# * Rounding to the nearest instead of down is worth 6.02 dB of granular error where the steps are fine, and 4.04 dB in
#   all at the optimum for $T = 4$.
# * Where a next layer can scale and shift, the half step is worth 1.08 dB at $T = 4$.
# * Any non-uniform staircase of a Gaussian can gain at most half a decibel more at $T = 4$; for a Laplace density it is
#   more.
