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
from atif_lib.results.records import records_of
from atif_lib.results.tables import provenance
from atif_lib.training.execution import save_memory

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## The drawback that the paper names
#
# "Each forward and backward pass must be repeated $T$ times", says Section 5 of {cite:t}`castagnetti2023trainable`. It
# calls this, with the memory that it needs, one of the main drawbacks of the method, since a network that is converted
# is trained only once, as a ReLU network. How large is the drawback?
#
# Count first. A layer of a spiking network has three parts, and all of them see $T$ maps where a ReLU network sees one:
#
# | part | arithmetic | kept for the backward pass |
# |:--|:--|:--|
# | convolution | $T$ times that of ReLU | its input: spikes |
# | batch norm | $T$ times that of ReLU | its input: the convolution's output |
# | neuron | a dozen operations a timestep | its input, or its membranes |
#
# So one should expect $T$ times the ReLU network, and the neuron decides whether it becomes more. Its arithmetic is
# small, but a plain neuron reads and writes all its numbers again and again: once for each line of the loop, at each
# timestep.

# %%
figures.show_source(IF.integrate_and_fire)

# %% [markdown]
# `torch.compile` turns the loop into one pass over memory for all $T$ timesteps: each current is read once, the
# membrane stays in a register, and $T$ spikes are written.
#
# The gradient goes backwards through time. Write $a(t) = \partial L / \partial i(t)$ for the gradient of the current
# $i$, and $g(t) = \partial L / \partial z(t)$ for the gradient that reaches the spike from behind. A current enters
# the membrane $H(t)$, and from there it acts in two ways: through the spike $z(t)$, and through the membrane that is
# left for the next timestep. The spike itself acts on the output and, through the reset, on that membrane. So
#
# $$
# a(t) = a(t+1) + \Big(g(t) - V_{th}\, a(t+1)\Big)\, \frac{\partial z(t)}{\partial H(t)}, \qquad a(T+1) = 0,
# $$
#
# with the surrogate for $\partial z / \partial H$. For the currents of one neuron this is all of backpropagation
# through time, and the library has it as a loop over $t$ (for a learned threshold one more sum is taken). A test
# holds it equal to what autograd finds for the plain neuron:

# %% tags=["hide-cell"]
figures.show_source(fused._gradient_of_current)

# %% [markdown]
# Membranes are not kept for it: they are *computed again* from the current, since arithmetic is cheaper than memory.
#
# One more pass over memory can be saved. The current is what a batch norm makes of a convolution's output $y$: a scale
# and an offset for each channel, $i = s\,y + o$. Where a neuron follows a norm, the library joins both in one function.
# It reads $y$ once for the norm's mean and variance, once for the spikes, and never writes the current. For the
# backward pass only $y$ is kept, in the precision of the convolution's output.
#
# ## On your machine
#
# Here is a small lone neuron, forward and backward, live. The variants are called in turn, so that a busy moment of the
# machine affects all of them alike. Compare the medians.
#
# **Predict:** how much faster is the compiled neuron than the same neuron uncompiled?
#
# (`ours-eager` is our neuron uncompiled, `ours` the compiled one, `spikingjelly` SpikingJelly's `IFNode`, uncompiled. The
# column "/ ours" is the median divided by that of `ours`.)

# %% tags=["hide-output"]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
shape = (4, 8, 32, 16, 16) if profile == "smoke" else (4, 16, 64, 32, 32)  # [T, N, C, H, W]
live = {case: NeuronPass(case, shape, device) for case in ("spikingjelly", "ours-eager", "ours")}
with tqdm(disable=True) as bar:
    times = summary(interleaved(live, 10, device, bar))
pd.DataFrame(times).rename(columns={"median_s": "median, s", "min_s": "least, s", "over_ours": "/ ours"}).round(4)

# %% [markdown]
# (In our record, with larger maps on two cores, the compiled neuron is one and a half times as fast as the uncompiled one.)
#
# Do they compute the same? In float32 all spikes are the same, and the gradients are the same up to rounding.

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
# which takes up to half an hour and writes a record. The record "laptop" is that of a processor, a server's here; it
# is named below. A *step* is a forward pass, a backward pass and an update of a ResNet-18. Every network has the same
# weights, the same batch and, except in the last line, the same neuron with the fixed threshold 1. All run in
# bfloat16 with channels last, except the first line of this table, which follows SpikingJelly's documentation. (A
# device without instructions for bfloat16 would have to imitate it, which is slower than float32: there all run in
# float32.)
#
# | name | what runs |
# |:--|:--|
# | SpikingJelly, plain | `IFNode` in float32, uncompiled {cite:p}`fang2023spikingjelly` |
# | SpikingJelly, best | the same in bfloat16, compiled; on a GPU its Triton kernels |
# | ReLU, T = 1 | the network with ReLUs, which has no timesteps |
# | ours | `IF`, fused with the norms before it |
# | ours, uncompiled | `IF` as it is, the lone neuron only |
# | ours, compact | ours with `save_memory`, see below |
# | ours, learned threshold | `ATIFu`, fused |
#
# The dashed line is $T$ times the step of the ReLU network, which runs uncompiled: its norms and its ReLUs are separate
# operations, as torch has them.

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
OURS, LEARNED, RELU = (figures.neuron_style(name)["color"] for name in ("IF", "ATIF-u", "ReLU"))
COLORS = dict(zip(NAMES, (RELU, figures.ORANGE, figures.SKY, OURS, OURS, OURS, LEARNED), strict=True))
HATCHES = {"ours-eager": "//", "ours-compact": ".."}
BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # behind a number, where a line would cross it
STYLES = {"relu": ":", "spikingjelly": "-.", "ours": "--"}
records = {r.profile: r for name in ("laptop", "full") for r in records_of("speed", name)}
PLACES = {"laptop": "a processor", "full": "a GPU"}
for name, place in PLACES.items():
    found = records.get(name)
    print(f"{place}: {found.device if found else 'not run'}")


def bars(ax, values, scale, title):
    """Draw a bar for each case, and write its value beside it."""
    names = [NAMES[case] for case in values]
    drawn = ax.barh(names, [scale * v for v in values.values()], color=[COLORS[case] for case in values], height=0.7)
    for bar, case in zip(drawn, values, strict=True):
        bar.set(hatch=HATCHES.get(case, ""), edgecolor="white")
    ax.bar_label(drawn, fmt=lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.3g}", padding=3, fontsize=11, bbox=BLANK)
    ax.set(xlabel=title, xlim=(0, 1.2 * scale * max(values.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")


# %% tags=["hide-input"]
for name, record in records.items():
    config, step = record.config, record.result["step"]
    fig, axes = plt.subplots(3, 1, figsize=(6.4, 9.0), height_ratios=(5, 6, 6))
    over, peak, lone = step["over_t_relu"], step["peak_mib"], record.result["neuron"]["over_ours"]
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
        alt=f"Bars of time and memory on {PLACES[name]}. A lone neuron of SpikingJelly takes {lone['spikingjelly']:.2g} times as "
        f"long as ours, compiled {lone['spikingjelly-best']:.2g} times. A training step takes {over['ours']:.2g} times T "
        f"ReLU steps with ours and {over['spikingjelly-best']:.2g} times with SpikingJelly's best. Its peak memory with ours is "
        f"{peak['ours'] / peak['spikingjelly']:.2g} of that with SpikingJelly's plain neuron, and {peak['ours'] / peak['spikingjelly-best']:.2g} of that with its best.",
        caption=f"Medians on {PLACES[name]} ({record.device}), batch {config['batch']}. Dashed: $T$ times the step of "
        "the ReLU network.",
        data=pd.DataFrame(rows),
    )

# %% tags=["remove-input"]
Markdown(provenance(["speed"]))

# %% [markdown]
# The same as ratios. "SJ" is SpikingJelly, and "T ReLU" is $T$ steps of the ReLU network.


# %% tags=["hide-input"]
def ratios(result):
    """Return what the bars say as ratios."""
    neuron, step, peak = result["neuron"]["over_ours"], result["step"]["over_ours"], result["step"]["peak_mib"]
    over_relu = result["step"]["over_t_relu"]
    further = {}
    for key, name in (("other", "VGG-16"), ("float32", "ResNet-18 in float32")):
        times = result[key]["over_ours"]
        further[f"{name}: SJ, best / ours"] = times["spikingjelly-best"]
        memory = result[key]["peak_mib"]
        further[f"{name}, memory: ours / SJ, plain"] = memory["ours"] / memory["spikingjelly"]
        further[f"{name}: ours / T ReLU"] = result[key]["over_t_relu"]["ours"]
        further[f"{name}: learned / T ReLU"] = result[key]["over_t_relu"]["atif-u"]
    inference = result["inference"]
    further["ResNet-18, inference: SJ, best / ours"] = inference["over_ours"]["spikingjelly-best"]
    further["ResNet-18, inference: ours / T ReLU"] = inference["over_t_relu"]["ours"]
    return {
        "neuron: SJ, plain / ours": neuron["spikingjelly"],
        "neuron: SJ, best / ours": neuron["spikingjelly-best"],
        "step: SJ, plain / ours": step["spikingjelly"],
        "step: SJ, best / ours": step["spikingjelly-best"],
        "step: ours / T ReLU": over_relu["ours"],
        "step: learned / T ReLU": over_relu["atif-u"],
        "step: compact / T ReLU": over_relu["ours-compact"],
        "memory: ours / SJ, plain": peak["ours"] / peak["spikingjelly"],
        "memory: ours / SJ, best": peak["ours"] / peak["spikingjelly-best"],
        "memory: compact / SJ, plain": peak["ours-compact"] / peak["spikingjelly"],
    } | further


pd.DataFrame({PLACES[name]: ratios(record.result) for name, record in records.items()}).round(2)

# %% [markdown]
# (SpikingJelly's plain step is in float32. So a large part of its memory is that of the wider numbers; compare the best
# one.)
#
# The table says three things. A lone neuron becomes faster by compilation, and SpikingJelly's neuron can be compiled,
# too: alone it is then the fastest on this processor. (Ours computes its membranes three times, once forward and
# twice backward, to keep less.) In a network that learns in bfloat16 it is the other way round: there our neuron
# takes over batch norms, sums of two paths, and conversions of numbers, for which other networks pass over memory
# separately. That makes a step 1.7 times as fast as with SpikingJelly's compiled neuron in ResNet-18, and 1.4 times
# in VGG-16. In float32 it is a quarter faster, and where a network only answers a tenth. And in bfloat16 a spiking step
# does not have to take longer than about $T$ steps of the ReLU network as torch runs it, although its neurons compute
# much more than a ReLU does. (In float32 it takes a tenth longer.)
# A part of that is that stem and update run once, not $T$ times, and a part that the ReLU network is not fused; a
# compiled one was not measured. How much each of these causes brings was not measured apart.
#
# ## Keeping less
#
# What takes the memory? For each layer one output of a convolution and one map of spikes, $T$ times, and in a plain
# network the neuron's input as well. Only the first of these takes long to compute again. So it is kept; the spikes at
# a block's entrance are kept as bytes instead of floats; and all else, batch norm, membranes and inner spikes, is
# computed again when the backward pass needs it. This is selective checkpointing {cite:p}`chen2016training`. torch has
# it, SpikingJelly has the packed spikes, and the library joins them:

# %% tags=["hide-cell"]
figures.show_source(save_memory)

# %% [markdown]
# In training it is a field of the recipe, `Recipe(save_memory=True)`. Outputs, gradients and running means are equal
# *to the last bit*, which a test checks. Memory is what torch's own allocator holds at the peak of a step, weights and
# the state of the optimizer included. With `save_memory` the step of ResNet-18 in the bars above holds 320 MiB in place of
# 413, and takes 18 % longer. (The ReLU network holds 200. `save_memory` is for residual networks only.)

# %% tags=["hide-cell"]
figures.show_source(peak_memory)

# %% [markdown]
# ## More timesteps, larger batches
#
# **Predict:** with twice the timesteps, does a step take twice as long, or less? What does not depend on $T$?

# %% tags=["hide-input", "hide-output"]
for name, record in records.items():
    fig, axes = plt.subplots(4, 1, figsize=(6.4, 12.0))
    rows, grown = [], {}
    for column, what in zip((axes[:2], axes[2:]), ("timesteps", "batch"), strict=True):
        growth = record.result[what]
        values = growth["values"]
        grown |= {(what, key): growth[key]["ours"][-1] / growth[key]["ours"][0] for key in ("median_s", "peak_mib")}
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
            ax.set_yscale("log", base=2)
            ax.yaxis.set_major_formatter("{x:,g}")
            ax.set_xticks(values, [str(v) for v in values])
        column[0].set_ylabel("step in ms")
        column[1].set_ylabel("peak memory in MiB")
        for ax in column:
            ax.set_xlabel("timesteps $T$" if what == "timesteps" else f"batch, T = {record.config['timesteps']}")
        column[0].legend()
    figures.show(
        fig,
        f"speed-growth-{name}",
        alt="Time and peak memory of a step for ReLU, SpikingJelly's neuron and ours, on logarithmic axes. From 1 to 16 timesteps "
        f"ours grows {grown['timesteps', 'median_s']:.2g} times in time and {grown['timesteps', 'peak_mib']:.2g} times in "
        f"memory; with a batch of 256 for 16, {grown['batch', 'median_s']:.2g} and {grown['batch', 'peak_mib']:.2g} times. "
        "SpikingJelly's plain neuron lies above it everywhere in memory.",
        caption=f"A step of {record.config['growing']} on {PLACES[name]}. First two: batch {record.config['growing_batch']}, "
        "$T$ from 1 to 16; the ReLU network's time is multiplied by $T$. Last two: the batch grows.",
        data=pd.concat(rows, ignore_index=True),
    )

# %% [markdown]
# The stem, which sees the image itself, runs once for any $T$, and so do the update of the weights and what the framework
# does between two layers. All else should be proportional to $T$. For memory it is, but for a constant:
# backpropagation through time keeps every timestep. For time it is not, in a network as small as this: the first timesteps
# cost little, and later ones more; from 8 timesteps to 16 the step takes twice as long. (Perhaps few maps do not fill the
# processor; that was not measured.) With the batch it is alike: 16 times the images take 14 times the memory, but only
# 7 times the time.
#
# ## The roofline
#
# How much faster could a step be? A device can do only so many operations and move only so many bytes a second. A step
# that needs $F$ operations and moves $B$ bytes takes at least about
#
# $$ \max\left(\frac{F}{\text{rate of a matrix product}},\; \frac{B}{\text{bandwidth of a copy}}\right), $$
#
# the *roofline* {cite:p}`williams2009roofline`. Both rates were measured in the same run. $F$ is counted by torch, for
# forward and backward pass; $B$ is what the operators read and write, a fused neuron counted as a ReLU on $T$ times the
# maps. Neither bound is strict: a cache may save some of those bytes, and a convolution may run faster than the matrix
# product that was timed.

# %% tags=["hide-input"]
for name, record in records.items():
    roof, step = record.result["roofline"], record.result["step"]["median_s"]
    fig, ax = plt.subplots(figsize=(6.4, 5.2))
    intensity = roof["flops"] / roof["bytes"]
    ridge = roof["flops_per_s"] / roof["bytes_per_s"]
    x = [min(intensity, ridge) / 8, ridge, 8 * max(intensity, ridge)]
    ax.plot(x, [min(roof["flops_per_s"], v * roof["bytes_per_s"]) / 1e9 for v in x], color=figures.BLACK, linestyle="-",
            label="roofline")  # fmt: skip
    rows = [{"case": "roofline", "flops_per_byte": v, "gflops_per_s": min(roof["flops_per_s"], v * roof["bytes_per_s"]) / 1e9}
            for v in x]  # fmt: skip
    drawn = {"spikingjelly": "s", "spikingjelly-best": "^", "ours": "o", "ours-compact": "D"}
    for case, marker in drawn.items():
        reached = roof["flops"] / step[case] / 1e9
        label = f"{NAMES[case]}: {reached:,.0f} GFLOP/s"
        look = {"markerfacecolor": "none", "markeredgewidth": 2, "markersize": 10, "linestyle": ""}
        ax.plot([intensity], [reached], marker, color=figures.GREEN if case == "ours-compact" else COLORS[case], label=label,
                **look)  # fmt: skip
        rows.append({"case": case, "flops_per_byte": intensity, "gflops_per_s": reached})
    ax.set(xscale="log", xlabel="FLOPs for each byte moved", ylabel="GFLOP/s")
    ax.set_yscale("log", base=2)
    ax.set_ylim(top=2 * roof["flops_per_s"] / 1e9)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter("")
    fig.legend(loc="outside lower center", ncols=1)
    best = max(roof["compute_s"], roof["traffic_s"]) / step["ours"]
    figures.show(
        fig,
        f"speed-roofline-{name}",
        alt="Rate of arithmetic against arithmetic for each byte moved: a roof that rises and then is flat, and below it, one over "
        f"the other, the steps with SpikingJelly's neuron and ours. Ours is the highest and reaches {best:.0%} of the roof.",
        caption=f"Roofline of {PLACES[name]}, and the step of {record.config['network']} beside it. All points are drawn at "
        "the same work; in fact SpikingJelly's plain step is in float32 and moves more bytes. The higher, the faster.",
        data=pd.DataFrame(rows),
    )
    print(
        f"bound by arithmetic {roof['compute_s']:.3g} s, by memory {roof['traffic_s']:.3g} s; ours {step['ours']:.3g} s"
    )

# %% [markdown]
# On our processor the step is bound by arithmetic, and reaches two thirds of the roof. By this estimate a faster neuron
# alone could gain about a third at most.
#
# To become faster, a point below the slope has to move fewer bytes, and a point below the flat part has to do more
# operations a second. A perfect neuron could gain about the distance to the roof. How near the points come
# depends on the convolutions, too: few libraries use a fast matrix unit of a processor well where maps are small.
#
# ## What can go wrong
#
# **Timing a GPU without waiting for it.** A call returns before its kernels have run. Synchronise, or measure the time
# that it takes to ask.
#
# **Timing the compiler.** The first calls compile, so they must not be timed. And a neuron that exceeds torch's limit of
# compilations runs uncompiled without a warning; the benchmark makes that an error.
#
# **A sum that changes the layout.** The stem's current is the same at all timesteps, so its gradient is a sum over them.
# torch's sum of maps in channels-last layout comes back in the other layout, and the batch norm behind it is then
# much slower. The code does not show this; a profile does.
#
# **Stacking before converting.** `torch.stack(spikes).to(bfloat16)` writes all spikes as float32 first. Converted one by
# one before they are stacked, they are written once, in half the bytes.
#
# **Measuring the memory of the process.** It includes libraries, the compiler, and memory that was freed but not
# returned. Two networks measured in one process then look alike.
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
# Two layers keep $2 \cdot 4 = 8$ bytes and one byte of spikes for each neuron: 9 bytes. With bits it is $8 + 1/8$, a tenth
# less. The step from floats, $8 + 4 = 12$, to bytes saved more.
# ```
#
# ```{exercise} Is the neuron the bottleneck?
# :label: ex-parallel
# The timesteps of a convolution are independent: all $T$ maps go through at once. Those of a neuron are not. Does that
# make the neuron the bottleneck on a GPU?
# ```
#
# ```{solution} ex-parallel
# :class: dropdown
# It should not be. The loop over $T$ is short, and a layer has far more neurons than the device has cores, all of which
# can run side by side. What limits a fused neuron should be the memory that it reads and writes, as with a ReLU. (Not
# measured: the benchmark has not run on a GPU.)
# ```
#
# ## Recap
#
# * A spiking step has $T$ times the convolutions of a ReLU step. On our processor, in bfloat16 and with a fused neuron, a
#   step of ResNet-18 takes about $T$ times as long as the ReLU step, uncompiled; in float32 a tenth longer, and in a small
#   network less. A fused neuron saves the separate passes of the norms before it.
# * Fused with its norms, a neuron keeps only the outputs of the convolutions.
# * On our processor such a step reaches two thirds of the roofline. How the rest is divided was not measured.
# * What can be computed again quickly need not be kept: the gradients stay the same to the last bit.
