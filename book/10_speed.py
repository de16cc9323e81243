# %% [markdown]
# # What training costs: time and memory
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** where the time and the memory of a training step go, how both grow with $T$ and with the batch, how
# this library compares with SpikingJelly's neuron and with the ReLU network, and how far a device is from its limits.
#
# **Time:** 20 minutes to read, under a minute to run: the large measurements were made before.
#
# **You need** [](03_surrogate_gradients.py) and [](06_first_network.py).
# :::

# %%
import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from tqdm import tqdm

from atif_lib.experiments.bench import CASES, NeuronPass, interleaved, peak_memory, summary
from atif_lib.neurons import IF, fused
from atif_lib.results import figures
from atif_lib.results.records import runs
from atif_lib.results.tables import provenance
from atif_lib.training.execution import save_memory

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## The drawback that the paper names
#
# "Each forward and backward pass must be repeated $T$ times", says Section 5 of {cite:t}`castagnetti2023trainable`, and
# calls this, with the memory that it takes, one of the main drawbacks of the method: a network that is converted is
# trained once, as a ReLU network. How large is the drawback?
#
# Count first. A layer of a spiking network has three parts, and all of them see $T$ maps where a ReLU network sees one:
#
# | part | arithmetic | kept for the backward pass |
# |:--|:--|:--|
# | convolution | $T$ times that of ReLU | its input: spikes |
# | batch norm | $T$ times that of ReLU | its input: the convolution's output |
# | neuron | a dozen operations a timestep | its input, or its membranes |
#
# So $T$ times the ReLU network is what one should expect, and the neuron decides whether it becomes more. It multiplies
# nothing large, but written plainly it sweeps over memory again and again: each line of the loop is a sweep, at each timestep.

# %%
figures.show_source(IF.integrate_and_fire)

# %% [markdown]
# `torch.compile` turns the loop into one sweep for all $T$ timesteps: a number is fetched, its membrane is carried along
# in a register, and $T$ spikes are written.
#
# The gradient goes through time backwards. Write $a(t) = \partial L / \partial x(t)$ for the gradient of the current. A
# current enters the membrane $H(t)$, and from there it acts in two ways: through the spike $z(t)$, and through the
# membrane that is left for the next timestep. The spike itself acts on the output and, through the reset, on that
# membrane. So
#
# $$
# a(t) = a(t+1) + \Big(g(t) - V_{th}\, a(t+1)\Big)\, \frac{\partial z(t)}{\partial H(t)}, \qquad a(T+1) = 0,
# $$
#
# with $g(t) = \partial L / \partial z(t)$ and the surrogate for $\partial z / \partial H$. This is all of
# backpropagation through time for one neuron, and the library has it as a loop over $t$. A test holds it equal to what
# autograd finds for the plain neuron:

# %%
figures.show_source(fused._gradient_of_current)

# %% [markdown]
# Membranes are not kept for it: they are *worked out again* from the current, since arithmetic is cheaper than memory.
#
# One more sweep can be saved. The current is what a batch norm makes of a convolution's output $y$: a scale and an
# offset for each channel, $x = s\,y + b$. Where a norm meets a neuron, the library takes both into one function. It reads
# $y$ once for the norm's mean and variance, once for the spikes, and never writes the current at all. What is kept for
# the backward pass is $y$, in the precision in which the convolution left it, and nothing else.
#
# ## On your machine
#
# Here is a lone neuron, small, forward and backward, live. Calls are made in turn, so that a busy moment of the machine
# strikes all alike. The median of each is what counts.
#
# **Predict:** how much faster is the compiled neuron than the same neuron uncompiled?

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
shape = (4, 8, 32, 16, 16) if profile == "smoke" else (4, 16, 64, 32, 32)  # [T, N, C, H, W]
live = {case: NeuronPass(case, shape, device) for case in ("spikingjelly", "ours-eager", "ours")}
with tqdm(disable=True) as bar:
    times = summary(interleaved(live, 10, device, bar))
pd.DataFrame(times).rename(columns={"median_s": "median, s", "min_s": "least, s", "over_ours": "/ ours"}).round(4)

# %% [markdown]
# Do they compute the same? In full precision: the same spikes, to the last one, and the same gradient up to rounding.

# %%
live = {case: NeuronPass(case, shape, device, low=False) for case in live}
spikes = {case: one() for case, one in live.items()}
for case, one in live.items():
    difference = (one.inputs.grad - live["ours"].inputs.grad).float().abs().max() / live["ours"].inputs.grad.abs().max()
    same = torch.equal(spikes[case], spikes["ours"])
    print(f"{case:13} same spikes: {same}, largest difference of the gradients: {difference:.0e} of the largest")

# %% [markdown]
# ## The bars
#
# All that follows was measured in one run of
#
# ```bash
# python -m atif_lib bench
# ```
#
# which takes some minutes and leaves a record. A *step* is a forward pass, a backward pass and an update of a ResNet-18.
# Every network has the same weights, the same batch and, but for the last line, the same neuron with the fixed threshold 1.
# All run in bfloat16 with channels last, but for the second line, which is as SpikingJelly's documentation has it:
#
# | | |
# |:--|:--|
# | SpikingJelly, plain | `IFNode` in float32, uncompiled {cite:p}`fang2023spikingjelly` |
# | SpikingJelly, best | the same in bfloat16, compiled; on a GPU its Triton kernels |
# | ours | `IF`, fused with the norms before it |
# | ours, uncompiled | `IF` as it is, the lone neuron only |
# | ours, compact | ours with `save_memory`, see below |
# | ours, learned threshold | `ATIFu`, fused |
#
# The dashed line is $T$ times the step of the ReLU network.

# %% tags=["hide-input"]
NAMES = {
    "relu": "ReLU, T = 1",
    "spikingjelly": "SpikingJelly, plain",
    "spikingjelly-best": "SpikingJelly, best",
    "ours-eager": "ours, uncompiled",
    "ours": "ours",
    "ours-compact": "ours, compact",
    "atif-u": "ours, learned threshold",
}
assert NAMES.keys() == CASES.keys()
COLORS = dict(zip(NAMES, (figures.GREY, figures.VERMILION, figures.ORANGE, figures.SKY, figures.BLUE, figures.GREEN,
                          figures.PURPLE), strict=True))  # fmt: skip
BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # behind a number, where a line would cross it
STYLES = {"relu": "--", "spikingjelly": "-.", "ours": "-"}
records = {r.profile: r for name in ("laptop", "full") for r in runs("speed", name)}
PLACES = {"laptop": "a processor", "full": "a GPU"}
for name, place in PLACES.items():
    found = records.get(name)
    print(f"{place}: {found.device if found else 'not run'}")


def bars(ax, values, scale, title):
    """Draw a bar for each case, and write its value beside it."""
    names = [NAMES[case] for case in values]
    drawn = ax.barh(names, [scale * v for v in values.values()], color=[COLORS[case] for case in values], height=0.7)
    ax.bar_label(drawn, fmt=lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.3g}", padding=3, fontsize=11, bbox=BLANK)
    ax.set(xlabel=title, xlim=(0, 1.2 * scale * max(values.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")


# %% tags=["hide-input"]
for name, record in records.items():
    config, step = record.config, record.result["step"]
    fig, axes = plt.subplots(3, 1, figsize=(7.2, 8.6), height_ratios=(5, 6, 6))
    bars(axes[0], record.result["neuron"]["median_s"], 1e3, "a lone neuron, forward and backward, in ms")
    bars(axes[1], step["median_s"], 1e3, f"a step of {config['network']}, T = {config['timesteps']}, in ms")
    t_relu = 1e3 * config["timesteps"] * step["median_s"]["relu"]
    axes[1].axvline(t_relu, color=figures.BLACK, linestyle="--")
    axes[1].set_xlim(0, max(axes[1].get_xlim()[1], 1.1 * t_relu))
    bars(axes[2], step["peak_mib"], 1, "peak memory of that step in MiB")
    rows = [
        {"what": what, "case": case, "value": value}
        for what, values in (
            ("neuron, s", record.result["neuron"]["median_s"]),
            ("step, s", step["median_s"]),
            ("peak, MiB", step["peak_mib"]),
        )
        for case, value in values.items()
    ]
    figures.show(
        fig,
        f"speed-bars-{name}",
        alt="Three groups of bars: time of a lone neuron, time of a training step with a dashed line at T times the "
        "ReLU network's, and peak memory of the step, for SpikingJelly's neuron and ours in several ways.",
        caption=f"Medians on {PLACES[name]} ({record.device}), batch {config['batch']}. Dashed: $T$ times the step of "
        "the ReLU network.",
        data=pd.DataFrame(rows),
    )

# %% tags=["remove-input"]
Markdown(provenance(["speed"]))

# %% [markdown]
# As ratios. The aim for the step was at most 1.05 times $T$ ReLU steps, and never more than SpikingJelly's best; for the
# memory, at most 0.70 of SpikingJelly's as documented.


# %% tags=["hide-input"]
def ratios(result):
    """Return the ratios that the aims speak of."""
    neuron, step, peak = result["neuron"]["over_ours"], result["step"]["over_ours"], result["step"]["peak_mib"]
    over_relu = result["step"]["over_t_relu"]
    further = {}
    for key, name in (("other", "a step of the second network"), ("float32", "the step in float32")):
        times = result[key]["over_ours"]
        further[f"{name}: SpikingJelly, best / ours"] = times["spikingjelly-best"]
        further[f"{name}: ours / T × ReLU"] = result[key]["over_t_relu"]["ours"]
        further[f"{name}: ours, learned threshold / T × ReLU"] = result[key]["over_t_relu"]["atif-u"]
    inference = result["inference"]
    further["inference: SpikingJelly, best / ours"] = inference["over_ours"]["spikingjelly-best"]
    further["inference: ours / T × ReLU"] = inference["over_t_relu"]["ours"]
    return {
        "neuron: SpikingJelly, plain / ours": neuron["spikingjelly"],
        "neuron: SpikingJelly, best / ours": neuron["spikingjelly-best"],
        "step: SpikingJelly, plain / ours": step["spikingjelly"],
        "step: SpikingJelly, best / ours": step["spikingjelly-best"],
        "step: ours / T × ReLU": over_relu["ours"],
        "step: ours, learned threshold / T × ReLU": over_relu["atif-u"],
        "step: ours, compact / T × ReLU": over_relu["ours-compact"],
        "memory: ours / SpikingJelly, plain": peak["ours"] / peak["spikingjelly"],
        "memory: ours, compact / SpikingJelly, plain": peak["ours-compact"] / peak["spikingjelly"],
    } | further


pd.DataFrame({PLACES[name]: ratios(record.result) for name, record in records.items()}).round(2)

# %% [markdown]
# Three things are worth reading off. Compilation is what a lone neuron gains by, and SpikingJelly's neuron compiles too.
# In a network the step gains by what the neuron takes over: batch norms, sums of two paths, and the conversions between
# them, which a ReLU network does in sweeps of their own. And so a spiking step does not have to be dearer than $T$ steps
# of the ReLU network, although its neurons compute much more than a ReLU does.
#
# ## Keeping less
#
# Where does the memory go? To one convolution's output and one map of spikes for each layer, $T$ times, and in a plain
# network to the neuron's input as well. Only the first of these is expensive to compute again. So keep that; keep the
# spikes at a block's entrance as bytes instead of floats; and compute all else again when the backward pass comes there:
# batch norm, membranes, inner spikes. This is selective checkpointing {cite:p}`chen2016training`. torch has it, SpikingJelly has the packed
# spikes, and what is left to write is short:

# %%
figures.show_source(save_memory)

# %% [markdown]
# In training it is a field of the recipe, `Recipe(save_memory=True)`. Outputs, gradients and running means are equal *to the
# last bit*, which a test checks. Memory is measured by torch's own
# allocator, all that a step holds at its peak, weights and the optimizer's state included:

# %%
figures.show_source(peak_memory)

# %% [markdown]
# ## More timesteps, larger batches
#
# **Predict:** with twice the timesteps a step takes twice as long. Or less? What does not depend on $T$?

# %% tags=["hide-input"]
for name, record in records.items():
    fig, axes = plt.subplots(2, 2, figsize=(7.6, 6.6), sharex="col")
    rows = []
    for column, what in zip(axes.T, ("timesteps", "batch"), strict=True):
        growth = record.result[what]
        values = growth["values"]
        for case in growth["median_s"]:
            for ax, key, scale in zip(column, ("median_s", "peak_mib"), (1e3, 1), strict=True):
                drawn = [scale * v for v in growth[key][case]]
                label = NAMES[case]
                if case == "relu" and what == "timesteps" and key == "median_s":
                    drawn, label = [t * v for t, v in zip(values, drawn, strict=True)], "T × ReLU"
                ax.plot(values, drawn, color=COLORS[case], linestyle=STYLES[case], marker="o", label=label)
            rows.append(pd.DataFrame({"varied": what, "value": values, "case": case, "median_s": growth["median_s"][case],
                                      "peak_mib": growth["peak_mib"][case]}))  # fmt: skip
        for ax in column:
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:,g}")
            ax.yaxis.set_minor_formatter("")
            ax.set_xticks(values, [str(v) for v in values])
    axes[0, 0].set_ylabel("step in ms")
    axes[1, 0].set_ylabel("peak memory in MiB")
    axes[1, 0].set_xlabel("timesteps $T$")
    axes[1, 1].set_xlabel(f"batch, T = {record.config['timesteps']}")
    axes[0, 0].legend(fontsize=10.5)
    axes[0, 1].legend(fontsize=10.5)
    figures.show(
        fig,
        f"speed-growth-{name}",
        alt="Time of a step above and peak memory below, against the timesteps at the left and the batch at the right, "
        "on logarithmic axes, for ReLU, SpikingJelly's neuron and ours.",
        caption=f"A step of {record.config['growing']} on {PLACES[name]}. Left: batch {record.config['growing_batch']}, "
        "$T$ from 1 to 16; above, the ReLU network's time is multiplied by $T$. Right: the batch grows.",
        data=pd.concat(rows, ignore_index=True),
    )

# %% [markdown]
# The stem, which sees the image itself, runs once whatever $T$ is, and so do the update of the weights and what the
# framework does between two layers. All else is proportional to $T$, and memory too: BPTT keeps every timestep.
#
# ## The roofline
#
# How much faster could it be at all? A device multiplies at some rate and moves bytes at some rate. A step that needs
# $F$ operations and moves $B$ bytes takes at least about
#
# $$ \max\left(\frac{F}{\text{rate of a matrix product}},\; \frac{B}{\text{bandwidth of a copy}}\right), $$
#
# the *roofline* {cite:p}`williams2009roofline`. Both rates were measured in the same run. $F$ is counted by torch, for
# forward and backward pass; $B$ is what the operators read and write, a fused neuron counted as a ReLU on $T$ times the
# maps. Neither bound is strict: a cache may spare some of those bytes, and a convolution may run faster than the matrix
# product that was timed.

# %% tags=["hide-input"]
for name, record in records.items():
    roof, step = record.result["roofline"], record.result["step"]["median_s"]
    fig, ax = plt.subplots(figsize=(7.0, 4.6))
    intensity = roof["flops"] / roof["bytes"]
    ridge = roof["flops_per_s"] / roof["bytes_per_s"]
    x = [min(intensity, ridge) / 8, ridge, 8 * max(intensity, ridge)]
    ax.plot(x, [min(roof["flops_per_s"], v * roof["bytes_per_s"]) / 1e9 for v in x], color=figures.BLACK, linestyle="-",
            label="roofline")  # fmt: skip
    rows = [{"case": "roofline", "flops_per_byte": v, "gflops_per_s": min(roof["flops_per_s"], v * roof["bytes_per_s"]) / 1e9}
            for v in x]  # fmt: skip
    for case, marker in {"spikingjelly": "s", "spikingjelly-best": "^", "ours": "o", "ours-compact": "D"}.items():
        reached = roof["flops"] / step[case] / 1e9
        ax.plot([intensity], [reached], marker, color=COLORS[case], linestyle="", markersize=8, label=NAMES[case])
        rows.append({"case": case, "flops_per_byte": intensity, "gflops_per_s": reached})
    ax.set(xscale="log", yscale="log", xlabel="FLOPs for each byte moved", ylabel="GFLOP/s")
    ax.set_ylim(top=2 * roof["flops_per_s"] / 1e9)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter("")
    fig.legend(loc="outside lower center", ncols=3, fontsize=10.5)
    figures.show(
        fig,
        f"speed-roofline-{name}",
        alt="Rate of arithmetic against arithmetic for each byte moved: a roof that rises and then is flat, and near it "
        "the steps with SpikingJelly's neuron and ours.",
        caption=f"Roofline of {PLACES[name]}, and the step of {record.config['network']} beside it. All points have the same work; "
        "the higher, the faster.",
        data=pd.DataFrame(rows),
    )
    print(
        f"bound by arithmetic {roof['compute_s']:.3g} s, by memory {roof['traffic_s']:.3g} s; ours {step['ours']:.3g} s"
    )

# %% [markdown]
# A point below the slope would have to move fewer bytes to become faster, one below the flat part would have to
# multiply better. What a perfect neuron could still gain is no more than the distance to the roof. How near the points
# come depends on the convolutions: a processor whose matrix unit is fast finds few libraries that keep it busy with small
# maps, and the distance to the flat part of the roof is then theirs, not the neuron's.
#
# ## What can go wrong
#
# **Timing a GPU without waiting for it.** A call returns before its kernels have run. Synchronise, or measure the time
# that it takes to ask.
#
# **Timing the compiler.** The first calls compile. They belong to a warm-up, and a neuron that meets torch's limit of
# compilations then runs uncompiled without a word; the benchmark makes that an error.
#
# **A sum that changes the layout.** The stem's current is the same at all timesteps, so its gradient is a sum over them.
# torch's sum of maps in channels-last layout comes back in the other layout, and the batch norm behind it then took ten
# times as long. Nothing in the code shows it: look at the profile.
#
# **Stacking before converting.** `torch.stack(spikes).to(bfloat16)` writes all spikes as float32 first. Converted one by
# one before they are stacked, they are written once, in half the bytes: a fifth of the time of a forward pass remained.
#
# **Taking the memory of the process.** It holds libraries, the compiler and what was freed and not given back. Two
# networks measured in one process then look alike.
#
# ## Exercises
#
# ```{exercise} Bits
# :label: ex-bits
# A map of spikes is kept as bytes. How much of a layer's memory would bits save beyond that, if a layer keeps a
# convolution's output in four bytes a number and, once in two layers, a map of spikes?
# ```
#
# ```{solution} ex-bits
# :class: dropdown
# Two layers keep $2 \cdot 4 = 8$ bytes and one byte of spikes for each neuron: 9. With bits it is $8 + 1/8$, a tenth less.
# The step from floats, $8 + 4 = 12$, to bytes was larger.
# ```
#
# ```{exercise} Why not T times faster?
# :label: ex-parallel
# The timesteps of a convolution are independent: all $T$ maps go through at once. Those of a neuron are not. Does that
# make the neuron the bottleneck on a GPU?
# ```
#
# ```{solution} ex-parallel
# :class: dropdown
# No. The loop over $T$ is short, and there are thousands of neurons for each of the device's cores to run side by side.
# What limits a fused neuron is the memory that it reads and writes, as for a ReLU.
# ```
#
# ## Recap
#
# * A spiking step has $T$ times the convolutions of a ReLU step, and takes about $T$ times the time. A fused neuron adds
#   little to that, and saves the sweeps of the norms before it.
# * Fused with its norms, a neuron keeps only the outputs of the convolutions.
# * What can be made again cheaply need not be kept: the gradients stay the same to the last bit.
