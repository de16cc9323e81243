# %% [markdown]
# # From a neuron to a network
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how the neurons of the last chapters become the activations of a convolutional network, what
# happens at its input, its normalisation and its readout, how to count its spikes (Eq. 20), and how a small network
# with each kind of neuron does on real images, next to the same network with ReLUs.
#
# **Time:** 25 minutes to read. To run: under a minute with `profile = "smoke"`, which trains on a few hundred images;
# about a quarter of an hour with `"laptop"`.
#
# **You need** [](05_nonuniform_thresholds.py) and to have seen a convolutional network.
# :::

# %%
import math

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
from atif_lib.results.records import records_of
from atif_lib.results.tables import provenance, summary
from atif_lib.training import train
from atif_lib.training.evaluation import evaluate
from atif_lib.training.loop import parameter_groups, update

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
    alt="Ten small, blurred colour images, one of each class, from an airplane to a truck.",
    caption="The first test image of each class.",
    data={"test image": first, "class": list(images.classes)},
)

# %% [markdown]
# ## One network, four activations
#
# A network of this book has three parts: a *stem*, which sees the image; *blocks*, which are convolutions and
# activations in turn; and a *readout*, which names the class. Written plainly, it answers in six lines:


# %%
def answer(network, images):
    """Let a spiking network look at images for T timesteps; return a number for each class."""
    current = network.stem(images)  # once: the image stands still
    z = current.expand(T, *current.shape)  # the same current at each timestep
    for layer in network.blocks:  # convolutions and neurons in turn
        z = layer(z)
    counts = z.mean((3, 4)).sum(0)  # spikes of each channel, a mean over its places
    return network.readout(counts)


# %% [markdown]
# The activation is an argument of the network. With `nn.ReLU` it is an ordinary network and $T = 1$; with a spiking
# neuron it runs for $T$ timesteps. Nothing else differs. The library's code builds the layers, and answers as above (a
# test compares the two):

# %% tags=["hide-cell"]
for part in (vgg, Network.spikes, Network.forward):
    figures.show_source(part)

# %% [markdown]
# Four decisions are in these lines.
#
# **The input is analog.** The first convolution sees the image itself, not spikes, and its output is the *constant
# current* of the first neurons {cite:p}`rueckauer2017conversion`. Eq. {eq}`eq-7` is about such a current. And what is
# constant has to be computed only once: the stem does not run $T$ times.
#
# **Between layers there are only spikes.** A convolution of zeros and ones adds weights. A max pool of zeros and ones
# is a zero or a one. SpikingJelly's `InputMonitor` records what enters each convolution:

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
# **No layer decodes.** No layer multiplies its spikes by $V_{th}$, as Chapter 1 did to estimate an input: the next
# convolution is linear, and the normalisation behind it would cancel any factor. Behind the last neurons there is no
# normalisation, so there the scale matters: the readout is a linear map of spike *counts*. With rates instead, which
# are at most 1, its outputs stay small for long, and so do the gradients of all layers.
#
# ## The sparsity θ
#
# Energy goes with spikes. The paper counts them by
#
# $$ \theta = \frac{\sum_{t=1}^{T} \sum_{i=0}^{n} \sum_{j=0}^{m} z_{i,j}(t)}{n \times m \times T} \tag{20} $$ (eq-20)
#
# for each layer, the mean of $z$ over all its neurons and timesteps, and averages over layers. (Here $i$ and $j$ only count
# the $n \times m$ neurons of a layer, and $z_{i,j}(t)$ is the spike of one; see [](15_errata.py).) $T\theta$ is the
# mean number of spikes of a neuron for one image, each layer counting alike. A lower θ is better; ReLU networks have
# none to count.

# %% tags=["hide-cell"]
figures.show_source(evaluate)

# %% [markdown]
# ## Training
#
# Training is the usual loop, and one more line: `reset_net` empties the membranes before each batch.


# %%
def one_epoch(network, batches, optimizer):
    """Train a spiking network once on every batch."""
    network.train()
    for images, labels in batches:
        functional.reset_net(network)  # the membranes start empty
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %% [markdown]
# The library's loop does the same, which a test checks, and adds what long runs need: a schedule of the learning
# rate, checkpoints, several devices, an error that names the layer where a number is not finite. Its optimizer treats
# thresholds as a group of their own, without weight decay, which would pull $\ln V_{th}$ towards 0, and so $V_{th}$
# towards 1.

# %% tags=["hide-cell"]
for part in (train, update, parameter_groups):
    figures.show_source(part)

# %% [markdown]
# Here it runs live. `laptop` takes all images and makes the complete run of one seed. `smoke` takes 512, which are too
# few to learn much: the loss falls just below that of a network that guesses, and no accuracy is shown. **That shows
# only that the code runs; the results over several seeds are further down.**

# %%
shown = ("train_loss", "theta") if profile == "smoke" else ("train_loss", "test_accuracy", "theta")
rows = {}
for name in ("relu", "atif-u"):
    experiment = EXPERIMENTS[f"cifar10-small-{name}"].at(profile)
    torch.manual_seed(0)
    network = experiment.build(images)
    subset = images.thinned(experiment.limit or len(images.train_labels))
    for metrics in train(network, subset, experiment.recipe):
        rows[name, metrics["epoch"]] = {key: metrics.get(key) for key in shown}
print(f"loss of a network that guesses among {len(images.classes)} classes: {math.log(len(images.classes)):.3f}")
pd.DataFrame(rows).T.rename_axis(["activation", "epoch"]).astype(float).round(3)

# %% [markdown]
# ## Results
#
# The records of complete runs: all 50,000 images, three epochs. (These "laptop" runs were made on one core of a server
# processor; the line below the table names it.) Hyperparameters were set once and shared by all; none was tuned for a
# neuron.
#
# **Predict** the order of the four networks.

# %% tags=["hide-output"]
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

# %% tags=["hide-input", "hide-output"]
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 7.4))
table = []
for label, name in networks.items():
    style = figures.neuron_style(label)
    for n, record in enumerate(records_of(name, "laptop")):
        curve = pd.DataFrame(record.epochs)
        top.plot(curve.epoch, curve.test_accuracy, marker="o", label=None if n else label, **style)
        for values in record.epochs:
            row = {"network": label, "seed": record.seed, "epoch": values["epoch"]}
            table.append(row | {"test_accuracy": values["test_accuracy"], "theta": values.get("theta")})
        if "theta_layers" in record.result:
            theta = record.result["theta_layers"]
            bottom.plot(range(1, 1 + len(theta)), theta.values(), marker="o", linewidth=1.4, **style)
top.set(xlabel="epoch", ylabel="test accuracy in %", xticks=[1, 2, 3])
top.legend()
bottom.set(xlabel="layer", ylabel="θ after training", xticks=[1, 2, 3, 4], ylim=(0, None))
figures.show(
    fig,
    "networks",
    alt="Above, test accuracy by epoch, one line a seed: after three epochs the ReLU network is some three points above the three spiking "
    "ones, whose lines overlap. Below, the mean of the spikes: the first of four layers fires about two and a half to six "
    "times as often as each of the others, with each of the neurons.",
    caption="The small network on CIFAR-10, one line for each seed. Above: accuracy after each epoch. Below: the "
    "sparsity θ of each layer after training.",
    data=pd.DataFrame(table),
)

# %% [markdown]
# The means are in the order ReLU, ATIF-nu, ATIF-u, IF, but differences that are as small as the spread over seeds may
# be chance; [](09_ablation.py) compares seed by seed. The thresholds after training, seed 0; the four rows are the
# four layers of neurons, and ATIF-nu has four thresholds in each:

# %% tags=["hide-input"]
pd.DataFrame(
    {
        f"{label}, seed {record.seed}": {
            name: ", ".join(f"{v:.2f}" for v in (values if len(set(values)) > 1 else values[:1]))
            for name, values in record.result["thresholds"].items()
        }
        for label, experiment in spiking.items()
        for record in records_of(experiment, "laptop")[:1]
    }
)

# %% [markdown]
# IF keeps its 1. All learned thresholds have risen. These are small networks trained for three epochs, an experiment of
# ours, which measures how fast they begin to learn; the paper's ResNet-18 and VGG-16, trained for 900 epochs, are other
# rows of [](report.md). Two things can be said already.
#
# * The spiking networks are a few points below their ReLU twin. Four things could cause this: (1) five values for every
#   activation, (2) spikes that arrive unevenly in time, (3) max pools that see the spikes of one timestep at a time, and (4)
#   surrogate gradients instead of true ones. [](07_cifar.py) separates three parts: the first; the second and third
#   together, which both come with time; and the fourth.
# * After a normalisation the fixed threshold is not as bad as it was for the lone neuron. There
#   $V_{th} = 1$ was $10\,\sigma$. Here it is about $1\,\sigma$ to begin with, and the weights of the normalisation
#   can scale the current as well as a threshold can: $V_{th}$ and the scale of the norm before it do the same thing.
#   Only ATIF-nu has something that the scale cannot replace: the *shape* of its staircase.
#
# ## What can go wrong
#
# **Forgetting the reset.** The membranes of one batch would be the start of the next. SpikingJelly's own neurons then
# go on without a word. Ours count their timesteps and stop:

# %%
network = vgg_small(ACTIVATIONS["atif-u"], T)
network(eight)
try:
    network(eight)
except ValueError as error:
    print("ValueError:", error)
functional.reset_net(network)

# %% [markdown]
# **Average pooling.** The mean of four spikes is not a spike. Where a network averages (ours does only before its
# readout), the signal into the next
# layer is no longer binary, and the additions turn into multiplications again.
#
# ## Exercises
#
# ```{exercise} Your own neuron
# :label: ex-own-neuron
# Any SpikingJelly node is an activation. Train `vgg_small` with `neuron.LIFNode(tau=2.0, v_reset=None,
# step_mode="m")` on the subset above. (This neuron is *leaky*: at each timestep it loses a part of its membrane.
# `v_reset=None` is the soft reset.)
# ```
#
# ````{solution} ex-own-neuron
# :class: dropdown
# ```python
# from spikingjelly.activation_based import neuron
#
# torch.manual_seed(0)  # the live table starts from the same weights
# network = vgg_small(lambda channels, timesteps: neuron.LIFNode(tau=2.0, v_reset=None, step_mode="m"), T)
# list(train(network, subset, experiment.recipe))[-1]["train_loss"]
# ```
# Compare the loss with the live table above. With `profile = "smoke"` this is one pass over 512 images, and the
# accuracy is still that of guessing; with `"laptop"` it is three passes, which take longer, and `["test_accuracy"]`
# says something.
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
# `from atif_lib.neurons import ATIFu`, then `vgg_small(lambda channels, timesteps: ATIFu(v0=0.5, step_mode="m"), T)`.
# Every neuron needs less current for its first spike, so expect a higher θ unless the thresholds rise. Of the 4 dB, the
# next layer's weights and bias give three to the empty start as well ([](12_limits.py)), and the bias of the batch norm
# can shift its steps: expect little more accuracy. [](09_ablation.py) has trained this network with three seeds: θ is
# higher, and for the accuracy the question is open.
# ```
#
# ## Recap
#
# * A spiking network is an ordinary one with another activation and $T$ timesteps; its stem runs once.
# * Only zeros and ones pass between layers, except into the readout; thresholds and normalisation both scale the
#   current.
# * θ is the mean of the spikes over the neurons and timesteps of a layer, averaged over layers; on spiking hardware
#   each spike costs energy.
