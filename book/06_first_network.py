# %% [markdown]
# # From a neuron to a network
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how the neurons of the last chapters become the activations of a convolutional network, what
# happens at its input, its normalisation and its readout, how to count its spikes (Eq. 20), and how a small network
# with each kind of neuron does on real images, next to the same network with ReLUs.
#
# **Time:** 25 minutes to read. To run: under a minute as published, which trains on a few hundred images; about
# a quarter of an hour with `profile = "laptop"`.
#
# **You need** [](05_nonuniform_thresholds.py) and to have seen a convolutional network.
# :::

# %%
import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from spikingjelly.activation_based import functional, monitor
from torch import nn

from atif_lib import data
from atif_lib.experiments import EXPERIMENTS
from atif_lib.networks import ACTIVATIONS, Network, vgg, vgg_small
from atif_lib.results import figures
from atif_lib.results.records import runs
from atif_lib.results.tables import provenance, summary
from atif_lib.training import train
from atif_lib.training.evaluation import evaluate

figures.use_style()
torch.manual_seed(0)
T = 4

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## Real images
#
# CIFAR-10 {cite:p}`krizhevsky2009learning` holds 50,000 small colour images to learn from and 10,000 to be tested on,
# in ten classes.

# %% tags=["hide-input"]
try:
    images = data.load("cifar10")
    note = f"{images.name}, source: {images.source}, verified by its checksum (sha256 `{images.sha256[:12]}…`)."
except data.DataUnavailable:
    images = data.load("digits")
    note = (
        ":::{warning}\nCIFAR-10 could not be reached when this page was made. What runs live below runs on "
        "scikit-learn's handwritten digits instead. The tables of results are not affected.\n:::"
    )
Markdown(note)

# %% tags=["hide-input"]
first = [int((images.test_labels == c).nonzero()[0]) for c in range(10)]
fig, axes = plt.subplots(2, 5, figsize=(6.4, 3.0))
for ax, n in zip(axes.flat, first, strict=True):
    ax.imshow(images.test_inputs[n].permute(1, 2, 0))
    ax.set_title(images.classes[images.test_labels[n]], fontsize=11, loc="center")
    ax.axis("off")
figures.show(
    fig,
    "images",
    alt="Ten small images, one of each class.",
    caption="The first test image of each class.",
    data={"test image": first, "class": list(images.classes)},
)

# %% [markdown]
# ## One network, four activations
#
# The network takes its activation as an argument. With `nn.ReLU` it is an ordinary network; with a spiking neuron it
# runs for $T$ timesteps. Nothing else differs.

# %%
figures.show_source(vgg)

# %% [markdown]
# What comes out is a `Network` of three parts, the stem, the blocks and the readout:

# %%
figures.show_source(Network.spikes)

# %%
figures.show_source(Network.forward)

# %% [markdown]
# Four decisions are in these lines.
#
# **The input is analog.** The first convolution sees the image itself, not spikes, and its output is the *constant
# current* of the first neurons {cite:p}`rueckauer2017conversion`. A constant current is just what Eq. {eq}`eq-7` is
# about. And what is constant need not be computed $T$ times: the stem runs once.
#
# **Between layers there are only spikes.** A convolution of zeros and ones adds weights. A max pool of zeros and ones
# is a zero or a one. Let us look, rather than believe:

# %%
network = vgg_small(ACTIVATIONS["atif-u"], T)
eight = data.normalizer(images)(images.test_inputs[:8])
with monitor.InputMonitor(network.blocks, nn.Conv2d) as inputs:
    network(eight)
    seen = {name: inputs[name][0].unique().tolist() for name in inputs.monitored_layers}
pd.DataFrame({"values at the input of a convolution": seen})

# %% [markdown]
# **The normalisation averages over time too.** Batch normalisation takes mean and variance over all $T \cdot N$ maps
# of a batch. It keeps the currents at a standard deviation of about one, so a threshold of 1 is a fair start: by
# Chapter 2 the best for $T = 4$ is 1.73 standard deviations.
#
# **The decode is folded away.** No layer multiplies its spikes by $V_{th}$: the next convolution is linear and
# followed by a normalisation that would cancel any factor. Behind the last neurons there is none, and there the scale
# matters: the readout is a linear map of spike *counts*. With rates instead, which are at most 1, the logits stay small
# for long and training is much slower.
#
# ## The sparsity θ
#
# Energy goes with spikes. The paper counts them by
#
# $$ \theta = \frac{\sum_{t=1}^{T} \sum_{i=0}^{n} \sum_{j=0}^{m} z_{i,j}(t)}{n \times m \times T} \tag{20} $$ (eq-20)
#
# for each layer, the share of neurons and timesteps that fire, and averages over layers. $T\theta$ is the mean number
# of spikes of a neuron for one image. A lower θ is better; ReLU networks have none to count.

# %%
figures.show_source(evaluate)

# %% [markdown]
# ## Training
#
# The loop is the usual one. Two lines are particular: `reset_net` empties the membranes before each batch, and the
# thresholds form a parameter group of their own, without weight decay, which would pull $\ln V_{th}$ towards
# $V_{th} = 1$.

# %%
figures.show_source(train)

# %% [markdown]
# Here it runs live, on as many images as this page's profile allows: with `smoke`, 512, which is too few to learn
# much. **It shows that the code runs; the results are further down.**

# %%
rows = {}
for name in ("relu", "atif-u"):
    experiment = EXPERIMENTS[f"cifar10-small-{name}"].at(profile)
    torch.manual_seed(0)
    network = experiment.build(images)
    subset = images.thinned(experiment.limit or len(images.train_labels))
    for metrics in train(network, subset, experiment.recipe):
        rows[name, metrics["epoch"]] = {key: metrics.get(key) for key in ("train_loss", "test_accuracy", "theta")}
pd.DataFrame(rows).T.rename_axis(["activation", "epoch"]).astype(float).round(3)

# %% [markdown]
# ## Results
#
# The records of complete runs: all 50,000 images, three epochs, on one core of a processor. Hyperparameters
# were set once and shared by all; none was tuned for a neuron. **Predict** the order before you look.

# %%
networks = {
    "ReLU (T = 1)": "cifar10-small-relu",
    "IF, V_th = 1": "cifar10-small-if",
    "ATIF-u": "cifar10-small-atif-u",
    "ATIF-nu": "cifar10-small-atif-nu",
}
spiking = {label: name for label, name in networks.items() if "ReLU" not in label}
summary(networks, {"test accuracy, %": "test_accuracy", "θ": "theta", "spikes per neuron": "spikes_per_neuron"})

# %% tags=["remove-input"]
Markdown(provenance(networks.values()))

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.8))
table = []
colors = [figures.GREY, figures.VERMILION, figures.BLUE, figures.GREEN]
for (label, name), color, style in zip(networks.items(), colors, ["-", "--", "-.", ":"], strict=True):
    for n, record in enumerate(runs(name, "laptop")):
        curve = pd.DataFrame(record.epochs)
        left.plot(
            curve.epoch, curve.test_accuracy, color=color, linestyle=style, marker="o", label=None if n else label
        )
        for values in record.epochs:
            row = {"network": label, "seed": record.seed, "epoch": values["epoch"]}
            table.append(row | {"test_accuracy": values["test_accuracy"], "theta": values.get("theta")})
        if "theta_layers" in record.result:
            theta = record.result["theta_layers"]
            right.plot(
                range(1, 1 + len(theta)), theta.values(), color=color, linestyle=style, marker="o", linewidth=1.4
            )
left.set(xlabel="epoch", ylabel="test accuracy in %", xticks=[1, 2, 3])
left.legend(fontsize=10.5)
right.set(xlabel="layer", ylabel="θ after training", xticks=[1, 2, 3, 4], ylim=(0, None))
figures.show(
    fig,
    "networks",
    alt="Left, test accuracy by epoch of the four networks, one line a seed; right, the share of neurons that fire in "
    "each of the four spiking layers.",
    caption="The small network on CIFAR-10, one line for each seed. Left: accuracy after each epoch. Right: the "
    "sparsity θ of each layer after training.",
    data=pd.DataFrame(table),
)

# %% [markdown]
# The learned thresholds, layer by layer:

# %% tags=["hide-input"]
pd.DataFrame(
    {
        f"{label}, seed {record.seed}": {
            name: ", ".join(f"{v:.2f}" for v in (values if len(set(values)) > 1 else values[:1]))
            for name, values in record.result["thresholds"].items()
        }
        for label, experiment in spiking.items()
        for record in runs(experiment, "laptop")[:1]
    }
)

# %% [markdown]
# Read the table with its spread. These are small networks trained for three epochs, an experiment of ours, which
# measures how fast they begin to learn; the paper's ResNet-18 and VGG-16, trained for 900, are other rows of
# [](report.md). Two things can be said already.
#
# * The spiking networks trail their ReLU twin by a few points. Three things could be to blame: five values for every
#   activation, spikes that arrive unevenly in time, and surrogate gradients instead of true ones. [](07_cifar.py) tells
#   them apart.
# * After a normalisation the fixed threshold is not the disaster that it was for the lone neuron. There
#   $V_{th} = 1$ was $10\,\sigma$. Here it is about $1\,\sigma$ to begin with, and the weights of the normalisation
#   can scale the current as well as a threshold can: $V_{th}$ and the scale of the norm before it do the same thing.
#   What only ATIF-nu has is the *shape* of its staircase.
#
# ## What can go wrong
#
# **Forgetting the reset.** Membranes would carry over from one batch to the next. SpikingJelly's own neurons go on
# silently. Ours count their timesteps and stop:

# %%
network = vgg_small(ACTIVATIONS["atif-u"], T)
network(eight)
try:
    network(eight)
except ValueError as error:
    print("ValueError:", error)
functional.reset_net(network)

# %% [markdown]
# **Average pooling.** The mean of four spikes is not a spike. Where a network averages, the signal into the next
# layer is no longer binary, and the additions turn into multiplications again.
#
# ## Exercises
#
# ```{exercise} Your own neuron
# :label: ex-own-neuron
# Any SpikingJelly node is an activation. Train `vgg_small` with `neuron.LIFNode(tau=2.0, v_reset=None,
# step_mode="m")` on the subset above, for one epoch.
# ```
#
# ````{solution} ex-own-neuron
# :class: dropdown
# ```python
# from spikingjelly.activation_based import neuron
#
# network = vgg_small(lambda channels: neuron.LIFNode(tau=2.0, v_reset=None, step_mode="m"), T)
# list(train(network, subset, experiment.recipe))[-1]["test_accuracy"]
# ```
# ````
#
# ```{exercise} Start half full
# :label: ex-network-half
# Give the network neurons with a half-step start, `ATIFu(v0=0.5, step_mode="m")`. By Chapter 4 each of them, decoded
# by itself, is worth 4 dB more. What do you expect of the accuracy, and of θ?
# ```
#
# ```{solution} ex-network-half
# :class: dropdown
# `vgg_small(lambda channels: ATIFu(v0=0.5, step_mode="m"), T)`. Every neuron needs less current for its first spike, so
# expect a higher θ unless the thresholds rise. Of the 4 dB the next layer's weights and bias give three to the empty
# start as well ([](12_limits.py)), and the batch norm's bias can shift its steps: expect little of the accuracy. Run it
# with `profile = "laptop"` before you believe either guess.
# ```
#
# ## Recap
#
# * A spiking network is an ordinary one with another activation and $T$ timesteps; its stem runs once.
# * Between layers travel zeros and ones; thresholds and normalisation share the job of scaling.
# * θ counts spikes, the currency in which spiking hardware is paid.
