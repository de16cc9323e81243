# %% [markdown]
# # What the threshold is worth: Table 3
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** to read an ablation with its intervals, what thresholds a network learns and how busy it then is, which
# classes it confuses, and what becomes of a network trained for four timesteps that is run for one, or for eight.
#
# **Time:** 25 minutes to read, under a minute to run: it loads networks that were trained before.
#
# **You need** [](06_first_network.py) and [](07_cifar.py).
# :::

# %%
import copy

import pandas as pd
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import nn

from atif_lib import data
from atif_lib.experiments.runs import trained
from atif_lib.networks import neurons, set_timesteps
from atif_lib.results import figures
from atif_lib.results.intervals import student
from atif_lib.results.manifest import Check
from atif_lib.results.records import runs
from atif_lib.results.tables import ABLATION, difference, paper_table, provenance, summary, training_table
from atif_lib.training.evaluation import accuracy_over_time, confusion, evaluate, predictions

figures.use_style()
T = 4

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## Table 3
#
# One network, one recipe, three neurons: the fixed threshold of 1, a learned one, four learned ones. "Ours" are
# complete runs of the paper's ResNet-18, trained in stages ([](07_cifar.py#three-stages-and-no-gpu)).

# %%
paper_table(3).drop(columns="experiment")

# %%
training_table(3)

# %% [markdown]
# The paper draws two conclusions: learning the threshold is worth 4.16 points of accuracy, and it makes the network
# *quieter*. It prints one number for each, without a spread.
#
# **Predict:** in [](04_uniform_threshold.py) a learned threshold was worth more than 10 dB to a lone neuron. In a network
# there is a batch normalisation before each neuron. Is the gain still there?
#
# ## The same at a laptop's size
#
# The small networks of [](07_cifar.py), one recipe for all. Its three epochs measure how fast a network begins to learn,
# not where it ends.

# %%
labels = {label: a for label, a in ABLATION.items() if a != "relu"}
networks = ("small", "resnet8")
names = {f"{network}, {label}": f"cifar10-{network}-{a}" for network in networks for label, a in labels.items()}
summary(names, {"test accuracy, %": "test_accuracy", "θ": "theta", "spikes per neuron": "spikes_per_neuron"})

# %% tags=["remove-input"]
Markdown(provenance(names.values()))

# %% [markdown]
# Is the order of Table 3 there, fixed < ATIF-u < ATIF-nu? Means alone do not answer that. Two networks of one seed see the
# same images in the same order, so take their difference, seed by seed, and ask how far its mean may be off. With few
# seeds the spread itself is uncertain; Student's t allows for that. With three seeds the 95 % interval reaches 4.3
# standard errors to each side, not two:

# %%
figures.show_source(student)

# %% [markdown]
# A relation holds if the whole interval lies where it asks, fails if the whole interval lies outside, and is open otherwise:

# %%
figures.show_source(Check.holds)

# %%
steps = {
    "ATIF-u over fixed": ("atif-u", "if"),
    "ATIF-nu over ATIF-u": ("atif-nu", "atif-u"),
    "half-step start over ATIF-u": ("atif-u-half", "atif-u"),
}
rows = []
for network in networks:
    for label, (better, worse) in steps.items():
        for name, metric in {"accuracy": "test_accuracy", "θ": "theta"}.items():
            found = difference(f"cifar10-{network}-{better}", f"cifar10-{network}-{worse}", metric)
            rows.append({"network": network, "step": label, "of": name} | found)
pd.DataFrame(rows).set_index(["network", "step", "of"])

# %% [markdown]
# In **accuracy** every step is open. The means of ATIF-u are above those of the fixed threshold, but both intervals hold
# zero. They do not hold the paper's 4.16 points: at this size, and in three epochs, the step is smaller than that. Nor do
# three seeds tell ATIF-nu from ATIF-u. In **θ** more is decided: the learned threshold makes both networks quieter, as in
# Table 3; ATIF-nu fires more than ATIF-u in the small ResNet, as in Table 3, and in the small VGG that is open. The
# half-step start, worth 4 dB to a lone neuron, makes both networks busier, and is not shown to make either better;
# [](14_better_neurons.py) comes back to it as one of eight changes, and with another interval for that.
#
# Each row is a question of its own. Of twelve differences that are all zero, at least one interval would exclude zero by
# chance about every other time.
#
# ## While they learn

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.8), sharey=True)
table = []
styles = list(zip(labels.items(), figures.PALETTE, figures.LINE_STYLES, strict=False))  # in all figures of this page
for ax, network in zip(axes, networks, strict=True):
    for (label, a), color, style in styles:
        for n, record in enumerate(runs(f"cifar10-{network}-{a}", "laptop")):
            curve = pd.DataFrame(record.epochs)[["epoch", "train_loss", "test_accuracy"]]
            ax.plot(
                curve.epoch,
                curve.test_accuracy,
                color=color,
                linestyle=style,
                linewidth=1.3,
                label=None if n else label,
            )
            table.append(curve.assign(network=network, neuron=label, seed=record.seed))
    if not ax.lines:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=figures.GREY)
    ax.set(title=network, xlabel="epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].set_ylabel("test accuracy in %")
axes[0].legend(fontsize=10, loc="lower right")
figures.show(
    fig,
    "ablation-curves",
    alt="Test accuracy by epoch of the small networks with each kind of neuron, one line a seed.",
    caption="The ablation at a laptop's size, one line for each seed.",
    data=pd.concat(table, ignore_index=True),
)

# %% [markdown]
# ## What they learned
#
# Every layer has one threshold, ATIF-nu one for each timestep. They all start at 1. By
# [](02_quantization_error.py) a lone neuron with unit Gaussian currents wants 1.73, and by [](12_limits.py) 2.14 if it starts
# half full.
#
# **Predict:** do the layers agree? And does the first layer, which sees a constant current, differ from the rest?

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(7.6, 6.4), sharex="col")
table = []
for column, network in zip(axes.T, networks, strict=True):
    for (label, a), color, style in styles:
        for n, record in enumerate(runs(f"cifar10-{network}-{a}", "laptop")):
            layers = {
                "threshold": [sum(values) / len(values) for values in record.result["thresholds"].values()],
                "theta": list(record.result["theta_layers"].values()),
            }
            for ax, values in zip(column, layers.values(), strict=True):
                place = range(1, 1 + len(values))
                ax.plot(
                    place, values, color=color, linestyle=style, marker="o", linewidth=1.2, label=None if n else label
                )
            rows = {"network": network, "neuron": label, "seed": record.seed, "layer": list(place)}
            table.append(pd.DataFrame(rows | layers))
    column[0].set_title(network)
    column[1].set_xlabel("layer")
    column[1].xaxis.get_major_locator().set_params(integer=True)
    for ax in column:
        if not ax.lines:
            ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=figures.GREY)
axes[0, 0].set_ylabel("threshold")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
axes[1, 0].set_ylabel("θ")
figures.show(
    fig,
    "ablation-layers",
    alt="Above the learned threshold, below the sparsity of each layer, for the two small networks and each neuron.",
    caption="Above: the threshold of each layer after training, for ATIF-nu the mean of its four. Below: the sparsity θ "
    "of each layer. One line for each seed.",
    data=pd.concat(table, ignore_index=True),
)

# %% [markdown]
# They do not agree. The first threshold moves little, and a later one grows most. In `small` the first layer fires about
# three times as often as the others.
#
# ## One trained network
#
# The weights of the small networks come with the book. Each row below is a network of seed 0, loaded and tested again,
# live, on test images; at `laptop` on all 10,000, as published on the first 1,000.

# %%
networks_of_seed_0 = {}
for label, a in ABLATION.items():
    try:
        networks_of_seed_0[label], images = trained(f"cifar10-small-{a}-laptop-s0")
    except (FileNotFoundError, data.DataUnavailable) as error:
        print(f"{label}: not run here; {error}")
if networks_of_seed_0:
    count = 1000 if profile == "smoke" else len(images.test_labels)
    images = images._replace(
        test_inputs=images.test_inputs[:count], test_labels=images.test_labels[:count]
    )  # all the training images stay: they give the normalisation its mean and deviation

# %%
tested = {label: evaluate(network, images) for label, network in networks_of_seed_0.items()}
rows = {
    label: [values.get(key) for key in ("test_accuracy", "theta", "theta_neurons")] for label, values in tested.items()
}
columns = ["test accuracy, %", "θ, over layers", "θ, over neurons"]
pd.DataFrame(rows, columns).T.map(lambda v: "–" if pd.isna(v) else f"{v:.3g}") if rows else Markdown("*Not run yet.*")

# %% [markdown]
# There are two θ here. The paper's is the mean over *layers*: a layer of few neurons counts as much as one of many. The
# mean over *neurons* is what the hardware feels.
#
# Which images does it take for which?

# %% tags=["hide-input"]
if "ATIF-u" in networks_of_seed_0:
    counts = confusion(networks_of_seed_0["ATIF-u"], images)
    share = 100 * counts / counts.sum(1, keepdim=True)
    fig, ax = plt.subplots(figsize=(6.4, 5.6))
    ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for row, column in (share >= 5).nonzero().tolist():
        color = "black" if share[row, column] > 50 else "white"
        ax.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=10, color=color)
    classes = range(len(images.classes))
    ax.set_xticks(classes, images.classes, rotation=45, ha="right")
    ax.set_yticks(classes, images.classes)
    ax.set(xlabel="the network's answer", ylabel="what it is")
    ax.grid(visible=False)
    figures.show(
        fig,
        "confusion",
        alt="Confusion matrix of the small ATIF-u network on CIFAR-10: ten classes by ten answers, in percent.",
        caption="Answers of the small ATIF-u network, in percent of the images of a class; those below 5 are not "
        "written.",
        data=pd.DataFrame(counts.numpy(), columns=list(images.classes)).assign(true=list(images.classes)),
    )

# %% [markdown]
# ## Two networks that are one
#
# Why might the step from the fixed to the learned threshold, the largest of Table 3, be small in `small`? Look at what comes
# before each neuron: a batch normalisation with a scale $\gamma$ and a shift $\beta$ of its own, both learned. A soft-reset
# neuron does not change if its current and its threshold are divided by the same number:
#
# $$
# \mathrm{IF}_{V_{th}}(\gamma \hat x + \beta) = \mathrm{IF}_1\!\left(\frac{\gamma}{V_{th}}\, \hat x + \frac{\beta}{V_{th}}\right).
# $$
#
# So every ATIF-u network with a normalisation before each neuron *is* a network of fixed thresholds, with other scales.
# The cell divides, and asks both for their answers.

# %%
if "ATIF-u" in networks_of_seed_0:
    learned = networks_of_seed_0["ATIF-u"]
    fixed = copy.deepcopy(learned)
    norms = [m for m in fixed.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm, neuron in zip(norms, neurons(fixed).values(), strict=True):
        for parameter in (norm.weight, norm.bias):
            parameter.data /= neuron.thresholds[0].detach()
        neuron.log_threshold.data.zero_()
    print("thresholds:", [neuron.thresholds[0].item() for neuron in neurons(fixed).values()])
    pairs = zip(predictions(learned, images, 500), predictions(fixed, images, 500), strict=True)
    same = sum((one.argmax(1) == other.argmax(1)).sum().item() for (one, _), (other, _) in pairs)
    print(f"the same answer to {same:,} of {len(images.test_labels):,} images")

# %% [markdown]
# Where an answer differs, a membrane came within a rounding error of its threshold. Where every neuron has a normalisation
# directly before it, as in `small` and in VGG-16, a learned threshold adds no network that a fixed one could not be. What it
# changes is the way there: where training starts, and how fast the scale moves.
#
# In a ResNet this holds but for the last neuron of a block with an identity shortcut: spikes join there behind the
# normalisation, and the threshold sets how much they count ([](14_better_neurons.py)). `resnet8` has one such neuron
# of seven. The paper's text does not mention normalisation. If its ResNet-18 has it, as in every library, then a part of its 4.16 points, perhaps most, measures how the fixed
# network was *trained*, not what it can do. ATIF-nu is another matter: only the common scale of its four thresholds
# can be divided out, and their ratios are its own.
#
# ## Another number of timesteps
#
# All were trained for $T = 4$. There are two ways to spend fewer. One can *stop early*: run the same network and read out
# after 1, 2 or 3 timesteps. Or one can *run it for another T* from the start. For a feed-forward network they are the
# same: a spike at timestep 2 does not know whether there will be a timestep 3. Only beyond 4 is there anything new.
#
# **Predict:** which neuron suffers most from stopping after one timestep? (Chapter 1: how much current does it take to
# spike at once?) And does the accuracy rise further at $T = 8$, with nine levels where five were trained?

# %%
over_time = {}
for label, network in networks_of_seed_0.items():
    if label not in ("ReLU", "ATIF-nu"):  # the one has no timesteps, the other a threshold for each
        set_timesteps(network, 8)
    over_time[label] = accuracy_over_time(network, images)
after = pd.DataFrame({label: pd.Series(values, range(1, 1 + len(values))) for label, values in over_time.items()}).T
after.add_prefix("T = ").map("{:.1f}".format).replace("nan", "") if over_time else Markdown("*Not run yet.*")

# %% tags=["hide-input"]
if over_time:
    fig, ax = plt.subplots(figsize=(6.8, 4.2))
    table = []
    if "ReLU" in over_time:
        ax.axhline(over_time["ReLU"][0], color=figures.GREY, linewidth=1.2, label="ReLU")
    for (label, _), color, style in styles:
        t = range(1, 1 + len(over_time.get(label, [])))
        if t:
            ax.plot(t, over_time[label], color=color, linestyle=style, marker="o", label=label)
            table.append(pd.DataFrame({"neuron": label, "timesteps": t, "test_accuracy": over_time[label]}))
    ax.axvline(T, color=figures.GREY, linestyle=":", linewidth=1)
    ax.set(xlabel="timesteps", ylabel="test accuracy in %", xticks=range(1, 9))
    ax.legend(fontsize=10.5, loc="lower right")
    figures.show(
        fig,
        "accuracy-against-t",
        alt="Test accuracy against the number of timesteps from 1 to 8 for each spiking network; a vertical line marks "
        "the four that they were trained for, a horizontal one the accuracy of the ReLU network.",
        caption="The small networks of seed 0, trained for four timesteps (dotted line) and run for one to eight. "
        "ATIF-nu has a threshold for each timestep and cannot be run for more.",
        data=pd.concat(table, ignore_index=True),
    )

# %% [markdown]
# A share of 1,000 images has a standard error of about a point and a half, so only large differences count here.
# ATIF-u suffers most from a single timestep and the half-step start least: half of the current that a first spike
# takes is there already. Eight timesteps bring nothing that these images show: the network has learned to live with
# five levels.
#
# That stopping early and running shorter are the same thing can be tested rather than believed:

# %%
for label, network in networks_of_seed_0.items():
    if label in labels and label != "ATIF-nu":
        set_timesteps(network, 2)
        print(f"{label}: {evaluate(network, images)['test_accuracy']:.1f} % with T = 2, ", end="")
        print(f"{over_time[label][1]:.1f} % after two timesteps of eight")

# %% [markdown]
# ## What can go wrong
#
# **Counting spikes at the wrong place.** θ depends on which tensors are averaged. With or without the first layer, over
# layers or over neurons: the two columns above differ. A θ without its definition cannot be compared.
#
# **One seed.** Two runs of one network differ by the spread in the table above. A difference of that size between two
# neurons is no difference yet.
#
# ## Exercises
#
# ```{exercise} Spikes of Table 3
# :label: ex-spikes
# Table 3 prints θ and spikes per neuron. What should their ratio be? Check the paper's three rows.
# ```
#
# ```{solution} ex-spikes
# :class: dropdown
# $T = 4$. It prints $0.68 / 0.17 = 4$, $0.452 / 0.113 = 4$ and $0.592 / 0.148 = 4$: exact each time.
# ```
#
# ```{exercise} How many seeds?
# :label: ex-seeds
# Suppose that the accuracy of a network varies by 0.4 points (standard deviation) from seed to seed. You want the
# difference of two neurons with a 95 % interval of half a point to each side. How many seeds does each need?
# ```
#
# ```{solution} ex-seeds
# :class: dropdown
# The difference of two independent runs varies by $0.4 \sqrt 2 = 0.57$, its mean over $n$ seeds by $0.57 / \sqrt n$, and
# the interval reaches $t_{n-1}$ times as far, Student's quantile. With seven seeds that is $2.45 \cdot 0.57 / \sqrt 7 = 0.52$,
# with eight $2.36 \cdot 0.57 / \sqrt 8 = 0.47$: eight seeds. For the 0.17 points between the paper's ANN and ATIF-nu on
# speech it would be 45. Seeds that are paired vary together, and then fewer do.
# ```
#
# ## Recap
#
# * An ablation is a difference, and a difference has an interval. Where it holds zero, the question is open.
# * After three epochs of small networks the accuracy of every step is open; that a learned threshold makes a network quieter
#   is not.
# * Directly behind a batch normalisation, with no shortcut joining between, a learned threshold is a scale that the network
#   had already.
# * The paper averages θ over layers; hardware pays for neurons.
# * A uniform network trained for $T$ timesteps can be run for any number; one with a threshold for each timestep cannot.
