# %% [markdown]
# # Deeper layers: when the current is not constant
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** what a neuron does with a current that arrives unevenly, why the membrane at the end tells the
# whole of that error, how large it is in each layer of a trained network compared with overload and rounding, and what
# happens to the accuracy if spikes are moved in time.
#
# **Time:** 25 minutes to read, about two minutes to run on a laptop: it loads networks that were trained before.
#
# **You need** [](02_quantization_error.py) and [](09_ablation.py).
# :::
#
# Every staircase so far assumed a constant current. In a network only the first layer has one. The currents of all other
# layers are sums of spikes, and spikes come at any timestep. {cite:t}`bu2022optimal` call the error that this adds the
# *unevenness error*. The paper says that training in the spike domain takes care of it. Does it?

# %%
import copy

import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import nn

from atif_lib import data
from atif_lib.experiments.runs import trained
from atif_lib.networks import neurons_of
from atif_lib.networks.initialisation import estimate_norms
from atif_lib.neurons import IF
from atif_lib.results import figures
from atif_lib.results.intervals import student
from atif_lib.results.measured import Quantity
from atif_lib.results.records import load_all, records_of
from atif_lib.results.tables import provenance
from atif_lib.training.evaluation import predictions
from atif_lib.training.layer_errors import layer_errors

figures.use_style()
T = 4

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## One sum, five orders
#
# Five currents for a neuron with $V_{th} = 1$. All have the mean $\bar x = 0.5$; a constant current of 0.5 makes two
# spikes.
#
# **Predict:** how many spikes does each make?

# %% tags=["hide-output"]
currents = {
    "constant": [0.5, 0.5, 0.5, 0.5],
    "early": [2.0, 0.0, 0.0, 0.0],
    "late": [0.0, 0.0, 0.0, 2.0],
    "up, then down": [2.0, 2.0, -1.0, -1.0],
    "down, then up": [-1.0, -1.0, 2.0, 2.0],
}
rows = {}
for name, current in currents.items():
    neuron = IF(T, step_mode="m")
    spikes = neuron(torch.tensor(current).view(T, 1, 1))
    train = "".join(f"{z:.0f}" for z in spikes.flatten())
    rows[name] = {"spikes": train, "count": int(spikes.sum()), "V(T)": neuron.v.item()}
pd.DataFrame(rows).T

# %% [markdown]
# Charge that comes *late* is not spent when time is up: it is left in the membrane, and spikes are *missing*. Charge
# that is taken back *after* it was spent leaves a debt: a spike cannot be called back, and there is a *surplus* of
# spikes. The last column shows both, and a theorem says how:
#
# :::{admonition} Theorem: what is left in the membrane
# :class: important
# Let a soft-reset neuron with one threshold $V_{th}$ receive any currents of mean $\bar x$, send $n$ spikes in $T$
# timesteps and end at $V(T)$. Then
#
# $$ n = \left\lfloor \frac{T \bar x + V(0)}{V_{th}} \right\rfloor - \left\lfloor \frac{V(T)}{V_{th}} \right\rfloor . $$
# :::
#
# *Proof.* Add up Eq. {eq}`eq-5` over time: $T\bar x + V(0) = n V_{th} + V(T)$. All charge that came in was either spent
# or is still there. Divide by $V_{th}$ and take the floor; $n$ is a whole number. $\square$
#
# The first floor is the staircase of Eq. {eq}`eq-7` before it is clipped to $0 \dots T$. So where it is not clipped the
# count is right **if and only if** $0 \le V(T) < V_{th}$, whatever the order of arrival. A debt of up to one threshold
# is one spike too many; if one to two thresholds are left, one spike is missing. (Where the staircase is clipped, to 0
# or to $T$, charge may be left or owed with any order.) Missing spikes would still come if the neuron ran for more
# timesteps. A surplus never goes away by itself; this is why others let neurons send *negative* spikes
# {cite:p}`li2022qffs,hu2023fastsnn`, or look at what is left in the membrane {cite:p}`hao2023residual`. In converted
# networks {cite:t}`hao2023offset` find one spike too many or too few to be the main error, and shift the initial
# membrane against it.
#
# ## Three errors in a layer
#
# So in each layer three errors lie between the neuron and the ReLU that it replaces:
#
# * **overload**: $\bar x$ above $V_{th}$ (for ATIF-nu above $p_1$) is clipped;
# * **granular error**: the clipped value is rounded to one of $T + 1$ levels, as if the current were constant;
# * **unevenness**: the count is not that of the constant current.
#
# `layer_errors` measures each of them on real currents, from test images, as a share of the mean square of
# $\mathrm{ReLU}(\bar x)$.

# %% tags=["hide-cell"]
figures.show_source(layer_errors)

# %%
names = {"IF, V_th = 1": "if", "ATIF-u": "atif-u", "ATIF-nu": "atif-nu"}
networks = {}
try:
    for label, activation in names.items():
        networks[label], images = trained(f"cifar10-small-{activation}-laptop-s0")
    count = 1000 if profile == "smoke" else len(images.test_labels)
    images = images.tested_on(count)
    note = f"The small networks of seed 0, tested on {count:,} images of CIFAR-10, source: {images.source}."
except (FileNotFoundError, data.DataUnavailable) as error:
    networks = {}
    note = f":::{{warning}}\nWhat needs the trained networks is *not run* here ({type(error).__name__}).\n:::"
Markdown(note)

# %%
errors = {
    (label, place): found._asdict()
    for label, network in networks.items()
    for place, found in enumerate(layer_errors(network, images).values(), 1)
}
table = pd.DataFrame(errors).T.rename_axis(["neuron", "layer"]) if errors else pd.DataFrame()
(100 * table).round(1) if errors else Markdown("*Not run.*")

# %% tags=["hide-input"]
if errors:
    fig, axes = plt.subplots(3, 1, figsize=(6.4, 8.6), sharex=True, sharey=True)
    hatches = {"overload": "", "granular": "///", "unevenness": "..."}
    for ax, label in zip(axes, networks, strict=True):
        rows = 100 * table.loc[label]
        bottom = 0 * rows.total
        for (part, hatch), color in zip(hatches.items(), (figures.ORANGE, figures.SKY, figures.PURPLE), strict=True):
            ax.bar(rows.index, rows[part], bottom=bottom, color=color, hatch=hatch, edgecolor="white", label=part)
            bottom += rows[part]
        ax.plot(rows.index, rows.total, "D", color=figures.BLACK, markersize=6, label="total")
        ax.set(title=label, ylabel="error in % of the signal", xticks=rows.index)
    axes[-1].set_xlabel("layer")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figures.show(
        fig,
        "layer-errors",
        alt="Stacked bars of three errors for each of four layers and three neurons. With each neuron overload is by far the "
        "largest part in the first layer and the largest in the fourth, granular error in the third; unevenness is zero in the "
        "first layer and nowhere the largest part.",
        caption="Mean square errors in each layer of the small networks, in percent of the mean square of the ReLU of the "
        "mean current. The bars are stacked; the diamond is the whole error, which differs by the cross terms.",
        data=(100 * table).reset_index(),
    )

# %% [markdown]
# In the first layer the unevenness is zero to the last digit, because its current is constant. The other layers have
# it. Is it the largest of the three errors anywhere?

# %%
if errors:
    largest = table[["overload", "granular", "unevenness"]].idxmax(axis=1).unstack().add_prefix("layer ")
largest.loc[list(networks)] if errors else Markdown("*Not run.*")

# %% [markdown]
# A neuron of these networks makes its largest error by saturating or by rounding down; unevenness is a few percent of
# the signal and nowhere the largest part. (In our runs of full size on CIFAR-10 it is the largest part in the last layer of
# ResNet-18 with learned thresholds, with each seed, and of VGG-16 with ATIF-nu, with one, see
# [](09_ablation.py#networks-of-full-size).)
# Training was free to let the first layer clip less, by its threshold or by the scale of the norm before it, and did
# not. Perhaps a layer that says *whether* there is an edge does not need to say *how much* of one.
#
# The three errors are not independent: the whole, `total`, differs from their sum by `cross`. A current is clipped or
# rounded, never both, so the cross term is that of unevenness with one of them. In the last layer it is large and
# positive: there spikes are missing, which makes an output smaller that clipping or rounding down has made too small.
#
# ## Too many or too few
#
# By the theorem, what is left in a membrane says for each neuron and image whether spikes are missing or too many. (It needs
# *one* threshold, so ATIF-nu is left out here and in the next section.)

# %%
left = {}


def look(name: str):
    """Return a hook that compares the count of a layer with the staircase of its mean current."""

    def compare(neuron, inputs, spikes):
        count, steps = spikes.sum(0), (neuron.v / neuron.thresholds[0]).floor()
        staircase = (count + steps).clamp(0, T)
        left.setdefault(name, []).append(
            torch.stack([(count > staircase), (count < staircase)]).double().flatten(1).mean(1)
        )

    return compare


uniform = {label: network for label, network in networks.items() if label != "ATIF-nu"}
rows = {}
for label, network in uniform.items():
    left.clear()
    hooks = [m.register_forward_hook(look(name)) for name, m in neurons_of(network).items()]
    for _ in predictions(network, images, 250):
        pass
    for hook in hooks:
        hook.remove()
    for place, shares in enumerate(left.values(), 1):
        rows[label, place] = dict(zip(("surplus, %", "missing, %"), 100 * torch.stack(shares).mean(0), strict=True))
pd.DataFrame(rows).T.rename_axis(["neuron", "layer"]).astype(float).round(2) if rows else Markdown("*Not run.*")

# %% [markdown]
# Both occur, missing spikes most of all in the last layer. More timesteps would bring these, if no more current came.
# Against a surplus negative spikes help, a start that is shifted, or inhibition that comes first.
#
# ## Moving spikes in time
#
# Does the network use the order of its spikes, or is it an accident? We can move spikes to find out. Behind every layer
# we take its spikes and put the same number back at other timesteps: spread evenly, shuffled, all first, or all last.
# Where a max pool follows the neurons, we do this behind the pool. (A pool of spikes sends one in each timestep in which
# *any* of its four neurons fires, so its count depends on when they fire.) Then the counts that the next layer reads stay
# the same. So *there* the mean current stays the same, and with it overload and granular error: only the unevenness
# changes. The extreme case is to pass on the *rate* at every timestep. That is no spike any more, but then no current is
# uneven.
#
# **Predict:** which order is best for the accuracy? And does the order with the smallest error win?


# %%
def arrange(z: torch.Tensor, order: str) -> torch.Tensor:
    """Put the spikes of each neuron, [T, ...], at other timesteps."""
    if order == "first":
        return z.sort(0, descending=True).values
    if order == "last":
        return z.sort(0).values
    if order == "shuffled":
        return z.gather(0, torch.rand(z.shape, generator=torch.Generator().manual_seed(0)).argsort(0))
    if order == "evenly":
        t = torch.arange(T + 1).view(-1, *[1] * (z.dim() - 1))
        return (t * z.mean(0) + 0.5).floor().diff(dim=0)
    return z.mean(0).expand_as(z) if order == "rates" else z


for train in ("0011", "1000", "0111"):
    z = torch.tensor([float(c) for c in train]).view(T, 1)
    shown = ["".join(f"{v:.0f}" for v in arrange(z, order).flatten()) for order in ("first", "last", "evenly")]
    print(train, "→ first {}, last {}, evenly {}".format(*shown))


# %%
def senders(network) -> list:
    """Return what sends the spikes that the next layer reads: each layer of neurons, or the max pool behind it."""
    neurons, found = list(neurons_of(network).values()), []
    for module in network.blocks:
        if module in neurons:
            found.append(module)
        elif isinstance(module[0], nn.MaxPool2d):
            found[-1] = module
    return found


def correct(network) -> torch.Tensor:
    """Return 1 for each test image that the network names, else 0."""
    return torch.cat([(logits.argmax(1) == y).double() for logits, y in predictions(network, images, 250)])


def changed(network, change, few) -> tuple[torch.Tensor, list[float]]:
    """Return `correct`, and the unevenness of each layer on a few images, all spikes that a next layer reads changed."""
    hooks = [m.register_forward_hook(change) for m in senders(network)]
    result = correct(network), [100 * found.unevenness for found in layer_errors(network, few).values()]
    for hook in hooks:
        hook.remove()
    return result


def compared(right: torch.Tensor, base: torch.Tensor) -> dict[str, str]:
    """Write the accuracy, its difference to another on the same images with its 95 % interval, and a verdict."""
    step, found = 100 * (right - base), {"accuracy, %": f"{100 * right.mean():.1f}", "difference": "", "verdict": ""}
    low, high = student(step.tolist())
    if low < high:
        found["difference"] = f"{step.mean():+.1f} [{low:.1f}, {high:.1f}]".replace("-", "−")
        found["verdict"] = "higher" if low > 0 else "lower" if high < 0 else "open"
    return found


# %% tags=["hide-output"]
if networks:
    few = images.tested_on(250)
orders = ("as they come", "evenly", "shuffled", "first", "last", "rates")
rows = {}
for label, network in uniform.items():
    base = correct(network)
    for order in orders:
        right, unevenness = changed(network, lambda m, inputs, z, order=order: arrange(z, order), few)
        by_layer = {f"layer {place}": f"{value:.2f}" for place, value in enumerate(unevenness, 1)}
        rows[label, order] = compared(right, base) | by_layer
moved = pd.DataFrame(rows).T.rename_axis(["neuron", "spikes"]) if rows else None
moved if rows else Markdown("*Not run.*")

# %% [markdown]
# The columns of layers are the unevenness error in percent, as above, on 250 of the images; a difference counts where
# its 95 % interval, over the images, excludes zero. It holds for this one network, not for another seed, and each is a
# question of its own.
#
# * *Evenly* spread or *shuffled*, spikes make smaller errors in every deeper layer than as they come. But the accuracy is
#   not shown to rise anywhere, and in places it **falls**; on all 10,000 test images (`profile = "laptop"`) it falls in
#   both networks. They were trained with their own spike times, and their weights fit them.
# * *All last* makes the largest errors, except in one layer of ATIF-u. *All first* makes smaller ones and costs most: on all
#   images 14 and 5 points, where *all last* costs less than two. So the size of an error does not say what it costs.
# * With *rates* there is no unevenness at all. So this row says how much accuracy uneven arrival costs while weights stay,
#   and the stored means and variances of the norms too:

# %% tags=["remove-input"]
said = [
    f"with {label} the accuracy changes by {moved.loc[(label, 'rates'), 'difference']} points "
    f"({moved.loc[(label, 'rates'), 'verdict']})"
    for label in (uniform if rows else ())
]
Markdown(f"> Without uneven arrival, {'; '.join(said)}." if said else "*Not run.*")

# %% [markdown]
# No gain is shown without uneven arrival. On all 10,000 test images both networks even *lose*. But the norms have stored
# the statistics of spikes; a table further down measures these anew.
#
# So an error does not always cost accuracy. The network has learned to live with the errors that were there in
# training; a smaller one that is new can cost more. The paper says that training in the spike domain takes care of
# uneven arrival without negative spikes. In line with that, no gain is shown when it is taken from these weights. But
# weights that were trained with an error may depend on it. So this does not show that networks without it are no better.
#
# Three more networks, one small VGG for each of three seeds, say more. They were trained in stages
# ([](07_cifar.py#three-stages-and-no-gpu)): as a quantized network, in which nothing arrives unevenly, and then as
# spikes, from the same weights. (These runs are older than a correction: to fit their thresholds, in some layers
# every second column of the maps was left out.) So the first row below is what spikes cost before any training with
# them, and the second what is left after an epoch of it, in points of accuracy:

# %%
runs = load_all()
found = {
    f"quantized − spikes, {when}": Quantity(
        "cifar10-small-quantized-staged",
        "test_accuracy",
        "laptop",
        minus=Quantity("cifar10-small-atif-u-staged", metric, "laptop"),
    ).measure(runs)
    for when, metric in {"untrained": "epochs.0.test_accuracy", "after an epoch": "test_accuracy"}.items()
}
pd.DataFrame(
    {
        label: {"points": f"{m.mean:.2f}", "95 % interval": "[{:.2f}, {:.2f}]".format(*m.interval), "seeds": m.n}
        for label, m in found.items()
        if m and m.interval
    }
).T

# %% [markdown]
# (What spikes cost includes what the max pools do with them, which is no error of a neuron. On CIFAR-10 the same step cost
# VGG-16, which has five pools of spikes, more than twice as much as ResNet-18, which has none. But on CIFAR-100 it cost
# ResNet-18 more; see [](07_cifar.py#table-1).)
#
# In each of the three, training in the spike domain brought more than half of it back, without negative spikes. What is
# left is not zero. Whether it is less than a point, three seeds do not decide, nor whether one more epoch without spikes
# would have gained as much.
#
# ## Taking the other errors away
#
# We can also replace the spikes by what a neuron *without* an error would pass on:
#
# * *rate of the spikes*: no uneven arrival (where a max pool follows, the rate of what it sends);
# * *clipped current*: the mean current, clipped but not rounded, so no uneven arrival and no rounding;
# * *ReLU of the current*: not even clipped, which is the ReLU network with these weights.
#
# In the last two a max pool takes the largest of four rates, as in the ReLU network.
#
# **Predict:** rounding makes a larger error than uneven arrival in most layers. How much accuracy is gained without it?


# %%
def cleaned(m, inputs, z, without: str) -> torch.Tensor:
    """Return what the neuron would pass on without some of its errors."""
    rate = inputs[0].mean(0) / m.thresholds[0]
    return (rate.clamp(0, 1) if without == "clipped current" else rate.relu()).expand_as(z)


def passing_on(network, without: str):
    """Return a copy of the network in which that is passed on in place of spikes."""
    twin = copy.deepcopy(network)
    if without == "rate of the spikes":
        for m in senders(twin):
            m.register_forward_hook(lambda m, inputs, z: arrange(z, "rates"))
    elif without != "spikes":
        for m in neurons_of(twin).values():
            m.register_forward_hook(lambda m, inputs, z: cleaned(m, inputs, z, without))
    return twin


# %% tags=["hide-output"]
rows = {}
if networks:
    normalize = data.normalizer(images)
    unlabelled = [normalize(images.train_inputs[k : k + 250]) for k in range(0, 2000, 250)]
for label, network in networks.items():
    base = correct(network)
    for without in ("spikes", "rate of the spikes", "clipped current", "ReLU of the current"):
        twin = passing_on(network, without)
        rows[label, without] = compared(correct(twin), base)
        estimate_norms(twin, unlabelled)
        rows[label, without]["with new norms, %"] = f"{100 * correct(twin).mean():.1f}"
pd.DataFrame(rows).T.fillna("").rename_axis(["neuron", "passed on"]) if rows else Markdown("*Not run.*")

# %% [markdown]
# None: without rounding the network **loses** accuracy. (Here, too, each verdict is a question of its own.) One
# reason would be the batch norms. Rounding down makes an output smaller, by half a step on average, and the norms
# have stored the mean of the smaller one. So the last column measures their means and variances anew, on 2,000
# training images without their labels; weights stay as they are. Compare that column with its own first row, for
# spikes: to measure anew costs something by itself, because in training the images were cropped and mirrored.
#
# For *ReLU of the current* (no clipping, no rounding) new norms bring most of the lost accuracy back: it was lost to
# the stored statistics. For *clipped current* (no rounding) they bring back nothing with the two uniform neurons, and
# a part with ATIF-nu. What is missing may be weights that are adapted to the rounding. All end below the accuracy of
# the spikes.
#
# In conversion, where a trained ReLU network is made to spike
# {cite:p}`diehl2015fast,rueckauer2017conversion,bu2022optimal`, it is the other way round: there the errors are new
# to the weights, and each of them must be made small. Here they were there in training.

# %% [markdown]
# ## What reaches a neuron
#
# Everything in Chapters 2 to 5 was for a Gaussian current, because the paper says that the inputs of a network's
# neurons are about normally distributed, with their peak near zero. Is it so? The records of the small networks hold
# the moments of their mean currents on 1,000 test images (of the threshold fixed at 1, those of nine seeds); here are
# the means over seeds. Skewness and excess kurtosis are 0 for a normal
# distribution; the excess kurtosis of a Laplace distribution, with its sharper peak and heavier tails, is 3.
#
# **Predict:** in which layer is the current least like a Gaussian one?

# %%
kinds = {"mean_over_sd": "mean / σ", "skewness": "skewness", "excess_kurtosis": "excess kurtosis"}
measured = {
    label: [r for r in records_of(f"cifar10-small-{activation}", "laptop") if "currents" in r.result]
    for label, activation in names.items()
}
moments = pd.concat(
    pd.DataFrame(record.result["currents"]).loc[[*kinds]].T.assign(neuron=label, layer=range(1, 5))
    for label, runs in measured.items()
    for record in runs
)
moments.groupby(["neuron", "layer"], sort=False).mean().rename(columns=kinds).round(2)

# %% tags=["remove-input"]
Markdown(
    provenance((f"cifar10-small-{a}" for a in names.values()), [run for runs in measured.values() for run in runs])
)

# %% [markdown]
# The first layer, whose current comes from the image itself, is the least Gaussian. Neighbouring pixels are alike, so
# most differences that a convolution takes are small and a few, at edges, are large. That gives heavy tails, and the
# max pool behind the first convolution takes the largest of four, which makes the density skewed. From the second
# layer on, a current is a sum of many spikes, and in these small networks it comes close to a normal distribution.
# (In our runs of full size some later layers are far from it: the last of VGG-16 with ATIF-u has an excess kurtosis
# of 32.) From the second layer on the mean lies below zero, by a third to six tenths of a standard deviation, so
# fewer than half of the currents are positive.
#
# The record `network-spikes` counts what travels between the layers of VGG-16 and ResNet-18, untrained and on random
# inputs: zeros and ones, without exception. It has to be so: where the two paths of a residual block meet *before* its
# last neuron, the neuron puts out a spike or none.

# %% [markdown]
# ## What can go wrong
#
# **Adding up errors.** There are three mean squares and a cross term of either sign. So large parts can have a small
# sum, and then shares of the whole mean nothing.
#
# **Blaming the largest error.** The tables above are about *these* weights. Whether a network *trained* without rounding,
# or without time, is better is another question, and needs another training, which [](07_cifar.py) shows.
#
# **Measuring at the wrong current.** Each layer is judged by the currents that reach it, and these include the errors of
# earlier layers. How far the last layer is from that of a ReLU network is another number, and not the sum of these.
#
# ## Exercises
#
# ```{exercise} The worst order
# :label: ex-worst-order
# Currents of $+1$ and $-1$ in equal number, $V_{th} = 1$, $V(0) = 0$, $T = 4$. Which order makes the most spikes, which the
# fewest? What does the constant current make?
# ```
#
# ```{solution} ex-worst-order
# :class: dropdown
# $+1, +1, -1, -1$ makes two spikes and ends at $V(T) = -2$; $+1, -1, +1, -1$ makes one and ends at $-1$, for the second
# $+1$ only pays the debt; $-1, -1, +1, +1$ makes none and ends at 0. The constant current is 0: no spike. By the theorem
# $n = 0 - \lfloor V(T) \rfloor$: the surplus is the debt.
# ```
#
# ```{exercise} More time
# :label: ex-more-time
# Let no current come after timestep $T$, and let the neuron go on. Which errors go away, and after how many timesteps
# at most?
# ```
#
# ```{solution} ex-more-time
# :class: dropdown
# Missing spikes go away: from $V(T) \ge V_{th}$ the neuron fires once a timestep until less than a threshold is left, after
# $\lfloor V(T) / V_{th} \rfloor$ of them. The spikes that overload has clipped come in the same way. Rounding stays, for less
# than a threshold is left, and so does a surplus, for $V(T) < 0$ makes no spike, now or later.
# ```
#
# ## Recap
#
# * Whatever the order of arrival, the count is that of the constant current if and only if what is left in the membrane lies
#   between 0 and $V_{th}$ (and the staircase is not at its ends).
# * In each layer of the small trained networks saturation or rounding makes a larger error than uneven arrival.
# * The network has learned with its errors. Without rounding, or without clipping, its accuracy falls.
