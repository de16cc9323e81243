# %% [markdown]
# # Your own neuron
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** to write a neuron of your own in about ten lines, to check it against what is known, to measure how well
# it quantizes, and to compare it with the base neuron in a network: paired by seed, with an interval and a verdict. The
# neuron of this page is an example. Put yours in its place.
#
# **Time:** half an hour to read and to try. To run: a minute or two on two cores with `profile = "smoke"`, which takes two
# seeds; about three times as long with `"laptop"`, which takes five. Each seed is trained completely in both.
#
# **You need** [](05_nonuniform_thresholds.py) and [](06_first_network.py). Intervals are explained in [](09_ablation.py).
# Nothing has to be installed but the library, and nothing of the library has to be edited.
# :::

# %%
import dataclasses
import tempfile

import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.distributions import Normal

from atif_lib import data
from atif_lib.experiments.contract import Context
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.networks import ACTIVATIONS
from atif_lib.neurons import ATIFu, SoftResetNode
from atif_lib.neurons.fitting import fit_neuron
from atif_lib.quantization import spike_counts
from atif_lib.quantization.density import GAUSSIAN, sqnr
from atif_lib.quantization.families import affine_levels, ladder
from atif_lib.quantization.staircases import count_staircase
from atif_lib.results import figures
from atif_lib.results.manifest import Check, Quantity
from atif_lib.results.records import load_all, recording, records_of
from atif_lib.results.tables import difference, provenance, summary
from atif_lib.training import Recipe

figures.use_style()
T = 4
MINE = {"color": "#882255", "linestyle": (0, (3, 1, 1, 1, 1, 1))}  # a colour and a dash that no other neuron has

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## First the equation
#
# ATIF-u learns one threshold, ATIF-nu learns $T$ of them. What lies between? Let the thresholds be a geometric sequence,
#
# $$ V_{th}(t) = V_1\, r^{\,t-1}, \qquad t = 1, \dots, T, $$
#
# with two learned numbers, the first threshold $V_1$ and the ratio $r$. For $r = 1$ this is ATIF-u. For $r < 1$ the
# thresholds fall with time, for $r > 1$ they rise. Both numbers must stay positive, so we learn their logarithms.
#
# What does $r$ do to the staircase? Take $r \le 1$ and a constant current $i$. Before the first spike the membrane
# holds $t\,i$, and the threshold is lowest at the end: so there is a spike if $T i \ge V_1\, r^{\,T-1}$. And there
# are $T$ spikes if there is one at the first timestep, $i \ge V_1$. So the first transition moves with $r$, and the
# last one does not (with the names of Chapter 13):
#
# $$ \tau_1 = \frac{V_1}{T}\, r^{\,T-1}, \qquad \tau_T = V_1 \qquad (r \le 1). $$
#
# **Predict:** Chapter 5 has shown that a good staircase rounds to the *nearest* level, so that its first transition is at
# *half* a step $V_1 / T$. For $T = 4$ that is $r^3 = \frac12$, $r = 0.79$. But one ratio moves all transitions. Is the best
# $r$ this one, or nearer to 1? And how much of the 3 dB of ATIF-nu can a single further number bring?
#
# ## Then the class
#
# The library's `SoftResetNode` has what all its neurons share: Eqs {eq}`eq-2` to {eq}`eq-5`, the surrogate gradient, the
# decoding, SpikingJelly's step modes, and the checks of its input. A neuron adds two things: what it keeps or learns
# (`begin_with`), and the thresholds that follow from it (`thresholds`, one for each timestep).


# %%
class Geometric(SoftResetNode):
    """Thresholds that form a geometric sequence, of which the first one and the ratio are learned."""

    def begin_with(self, threshold: float) -> None:
        self.log_first = nn.Parameter(torch.tensor(float(threshold)).log())
        self.log_ratio = nn.Parameter(torch.tensor(0.0))  # r = 1: it starts as ATIF-u

    @property
    def thresholds(self) -> Tensor:
        t = torch.arange(self.timesteps, device=self.log_first.device)
        return (self.log_first + t * self.log_ratio).exp()


neuron = Geometric(T, threshold=1.0, step_mode="m")
print(neuron)

# %% [markdown]
# The options come from the base class: `v0=0.5` is a half-step start, `charge=True` makes a spike worth its threshold,
# `surrogate` and `slope` are those of [](03_surrogate_gradients.py). The fused kernels of [](10_speed.py) take the class as
# it is.
#
# ## Check it against what is known
#
# A new class that runs is not yet a right one. Ask three questions whose answers you know.
#
# **Is it ATIF-u for $r = 1$?** Spike by spike, and also for currents that are not constant. The gradient must be the
# same too, up to rounding.

# %%
generator = torch.Generator().manual_seed(0)
currents = torch.randn(T, 10_000, generator=generator)
known = ATIFu(T, threshold=0.8, step_mode="m")
neuron = Geometric(T, threshold=0.8, step_mode="m")
spikes = {"known": known(currents), "mine": neuron(currents)}
for z in spikes.values():
    (z * currents.roll(1, 0)).sum().backward()  # any function of the spikes will do
print("spikes that differ:", int((spikes["known"] != spikes["mine"]).sum()), "of", spikes["known"].numel())
print(f"gradient by log V_1: {neuron.log_first.grad:.6g}, of ATIF-u: {known.log_threshold.grad:.6g}")

# %% [markdown]
# **Is its staircase the one of the equation?** `count_staircase` solves for the transitions of any thresholds
# exactly, without running a neuron. We run ours in double precision at 3,000 constant currents between 0 and 1.5, and
# compare.

# %%
grid = (torch.arange(3000, dtype=torch.float64) + 0.5) / 2000
rows = {}
for ratio in (0.8, 1.0, 1.25):
    neuron = Geometric(T, step_mode="m").double()
    neuron.log_ratio.data.fill_(ratio).log_()
    counts = neuron(grid.expand(T, -1)).sum(0)
    thresholds = neuron.thresholds.detach()
    transitions = count_staircase(thresholds).transitions
    rows[f"r = {ratio}"] = {f"{n} from": transitions[n - 1].item() for n in range(1, T + 1)} | {
        "r³ / 4": ratio**3 / T,
        "currents that differ": int((counts != (grid[:, None] >= transitions).sum(1)).sum()),
    }
pd.DataFrame(rows).T.round(4).astype({"currents that differ": int})

# %% [markdown]
# The columns "1 from" to "4 from" are the inputs from which there are one to four spikes, for $V_1 = 1$. With falling
# thresholds the first is at $r^3/4$ and the last at 1, as the equation says. With rising thresholds the last moves outwards,
# too: after a spike at the first timestep the membrane has to reach higher thresholds.
#
# **Do both parameters get a gradient?** If one has none, it is a constant, whatever the class says.

# %%
neuron = Geometric(T, step_mode="m")
neuron.decode(neuron(currents)).sub(currents.mean(0).relu()).square().mean().backward()
for name, parameter in neuron.named_parameters():
    print(f"{name}: gradient {parameter.grad:.4f}")

# %% [markdown]
# ## How well does it quantize?
#
# The currents are Gaussian, as in Chapters 2 to 5. The shape of the staircase depends on $r$ alone, and $V_1$ stretches
# it. So we scan: for each $r$ the exact staircase, and of many $V_1$ the best. Two SQNR are found for each: decoded by the
# neuron's own rule, $k$ spikes mean $k V_1 / T$, and decoded with the best gain and offset, as the next layer of a network
# can do at no cost ([](12_limits.py)).


# %%
def scan(timesteps: int, start: float = 0.0) -> pd.DataFrame:
    """Find the best first threshold in σ, and the SQNR in dB, of each ratio; for two ways to decode."""
    r = torch.linspace(0.4, 1.3, 181, dtype=torch.float64)
    first = torch.linspace(0.5, 6, 1101, dtype=torch.float64)
    stairs = count_staircase(r[:, None] ** torch.arange(timesteps), start)
    transitions = first[:, None] * stairs.transitions[:, None, :]  # [r, V_1, T]
    levels = first[:, None] * torch.arange(1, timesteps + 1) / timesteps
    found = {"r": r, "count never falls": stairs.monotone}
    for name, read in {"own": levels, "affine": affine_levels(GAUSSIAN, transitions)}.items():
        found[f"{name}, dB"], place = sqnr(GAUSSIAN, transitions, read).max(1)
        found[f"{name}, V_1"] = first[place]
    table = pd.DataFrame({name: values.numpy() for name, values in found.items()})
    return table[table["count never falls"]]  # else T transitions do not describe it


found = scan(T)
best, best_affine = (found.loc[found[f"{name}, dB"].idxmax()] for name in ("own", "affine"))
uniform = found.loc[(found.r - 1).abs().idxmin()]
print(f"best ratio by its own rule:      r = {best.r:.3f}, {best['own, dB']:.2f} dB")
print(f"best ratio with gain and offset: r = {best_affine.r:.3f}, {best_affine['affine, dB']:.2f} dB")

# %% [markdown]
# The scan knows the best $r$. Can the neuron *learn* it? We train it as in [](04_uniform_threshold.py), from $V_1 =
# 10\,\sigma$ and $r = 1$, but with ten times the learning rate, so that 1,500 updates are enough.

# %%
sigma = 0.1
neuron = Geometric(T, threshold=10 * sigma, step_mode="m")
*_, learned = fit_neuron(neuron, Normal(0.0, sigma), steps=1500, lr=0.01)
learned_r = neuron.log_ratio.exp().item()
print(f"learned: V_1 = {learned['thresholds'][0] / sigma:.2f} σ, r = {learned_r:.3f}, {learned['sqnr_db']:.2f} dB")

# %% tags=["hide-output"]
rungs = ladder(GAUSSIAN, T)
free = rungs["non-uniform, rate · p1"]
atif_nu = pd.Series([record.result["sqnr_db"] for record in records_of("toy-atif-nu-long", "laptop")])
rows = {
    "ATIF-u, the best": (1, uniform["own, dB"], uniform["affine, dB"]),
    "geometric, the best": (2, best["own, dB"], best_affine["affine, dB"]),
    "geometric, learned above": (2, learned["sqnr_db"], None),
    "ATIF-nu, learned (records of Chapter 5)": (T, atif_nu.mean(), None),
    "free transitions, the best": (T, free.sqnr_db, None),
    "half-step start, the best": (1, rungs["uniform, half-step start"].sqnr_db, None),
}
table = pd.DataFrame(rows, ["learned numbers", "own rule, dB", "gain and offset, dB"]).T
table.map(lambda v: "" if pd.isna(v) else f"{v:.4g}")

# %% tags=["hide-input", "hide-output"]
shown = found[found.r.between(0.6, 1.25)]
i = torch.linspace(0, 3, 1501, dtype=torch.float64)
curves = {}
for label, row in (("ATIF-u", uniform), ("geometric", best)):
    thresholds = row["own, V_1"] * row.r ** torch.arange(T, dtype=torch.float64)
    curves[label] = thresholds[0] / T * spike_counts(i, thresholds)
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 7.6))
top.axhline(free.sqnr_db, label="free transitions", **figures.neuron_style("ATIF-nu"))
top.plot(shown.r, shown["own, dB"], label="geometric", **MINE)
top.plot(shown.r, shown["affine, dB"], label="the same, gain and offset", **MINE, alpha=0.5)
top.plot(learned_r, learned["sqnr_db"], "D", color=MINE["color"], label="learned")
top.plot(1, uniform["own, dB"], "o", markersize=8, color=figures.BLUE, label="ATIF-u")
top.set(xlabel="ratio $r$", ylabel="best SQNR in dB", ylim=(5, 15.5))
top.legend(loc="lower center")
bottom.plot(i, i, label="ReLU", **figures.neuron_style("ReLU"))
bottom.plot(i, curves["ATIF-u"], label="ATIF-u", **figures.neuron_style("ATIF-u"))
bottom.plot(i, curves["geometric"], label=f"geometric, $r = {best.r:.3f}$", **MINE)
bottom.set(xlabel="input current in σ", ylabel="estimate in σ", ylim=(-0.1, 2.4))
bottom.legend(loc="upper left")
figures.show(
    fig,
    "own-sqnr",
    alt="Above, the best SQNR against the ratio. By its own rule it has one peak at a ratio below 1, almost three decibels "
    "above ATIF-u at ratio 1 and over half a decibel below free transitions; with gain and offset the curve is much flatter. "
    "Below, two staircases beside the ReLU: that of ATIF-u lies below it, that of the best ratio crosses it.",
    caption="Above: the best SQNR that each ratio can have on the positive part of a Gaussian, $T = 4$; the dot is $r = 1$, "
    "ATIF-u, and the diamond is where learning ended. Below: the best staircase of ATIF-u, which rounds down, and that of "
    "the best ratio, which comes nearer to rounding to the nearest level.",
    data=shown[["r", "own, dB", "own, V_1", "affine, dB", "affine, V_1"]],
)

# %% [markdown]
# One further number brings almost 3 dB, four fifths of what free transitions could bring. Learning ends close to it,
# a tenth of a decibel lower. ATIF-nu, with four learned thresholds, ends half a decibel above it, given 20,000
# updates. The best ratio is nearer to 1 than the first transition alone would have it. Here are the transitions in
# units of a step $V_1/T$, beside those that round to the nearest level:

# %%
steps = count_staircase(torch.tensor(best.r, dtype=torch.float64) ** torch.arange(T)).transitions * T
pd.DataFrame(
    {"ATIF-u": [1.0, 2.0, 3.0, 4.0], "geometric, the best": steps.tolist(), "to the nearest": [0.5, 1.5, 2.5, 4.0]},
    index=["first", "second", "third", "last"],
).T.round(2)

# %% [markdown]
# One ratio cannot meet three middles. It meets the second best, moves the first too little and the third too far, and the
# last stays at $V_1$. So our neuron is *another way to the half step*, and a membrane that starts half full is still better,
# without any ratio (last row of the table above; an exercise goes on from here).
#
# And if the next layer has a gain and an offset? Then 0.4 dB are left, at a ratio nearer to 1. Before you train a network,
# write down what you expect from that.
#
# ## Into a network
#
# An activation is a function of the channels and of $T$, and gets a name by one line. An experiment is a data set, a
# network, an activation and a recipe. The data are scikit-learn's digits: 1,500 images to learn from and 297 to be
# tested on, which the library makes itself. Digits are not flipped, so the recipe has no `"flip"`.

# %%
ACTIVATIONS["geometric"] = lambda channels, timesteps: Geometric(timesteps, step_mode="m")

recipe = Recipe(epochs=3, augment=("crop",))
experiments = {
    f"digits-small-{name}": NetworkExperiment(f"digits, small, {name}", "digits", "small", name, recipe, "laptop")
    for name in ("atif-u", "geometric")
}
digits = data.load("digits")

# %% [markdown]
# A fair pair differs in the neuron and in nothing else. Networks of one seed see the same images in the same order, and they
# must start with the same weights. Do ours?

# %%
starts = {}
for name, experiment in experiments.items():
    torch.manual_seed(0)
    starts[name] = experiment.build(digits).state_dict()
base, ours = starts.values()
shared = base.keys() & ours.keys()
equal = [torch.equal(base[key], ours[key]) for key in shared]
print(f"tensors that both have: {len(shared)}, equal: {sum(equal)}")
print("only in the base:", ", ".join(key for key in base if key not in shared))
print("only in ours:    ", ", ".join(key for key in ours if key not in shared))

# %% [markdown]
# ### The claims come first
#
# Write down what you want to know *before* you train, as something that can fail. The report of this book does the same: a
# `Check` is a sentence, a number, a relation, and where our value comes from. Ours are differences of two experiments, seed by
# seed.


# %%
def against_base(metric: str) -> Quantity:
    """Take a metric of our network less that of the base, seed by seed."""
    base = Quantity("digits-small-atif-u", metric, "laptop")
    return Quantity("digits-small-geometric", metric, "laptop", minus=base)


claims = [
    Check(
        text="A learned ratio makes the network more accurate.",
        paper=0.0,
        unit="points",
        relation=">",
        ours=against_base("test_accuracy"),
    ),
    Check(
        text="A learned ratio gives the network a lower θ.",
        paper=0.0,
        unit="θ",
        relation="<",
        ours=against_base("theta"),
    ),
]

# %% [markdown]
# (`paper` is the number that ours is compared with. Here it is zero, and of no paper.) The second claim was not written
# blind: a trial with seed 0 suggested it. So seed 0 must not judge it, and the seeds below begin at 1.
#
# **Predict** both verdicts. Then say whether $r$ will go up or down: the lone neuron wants it below 1.
#
# ### Train
#
# `recording` times a run and writes its record: configuration, seed, versions, device, every epoch, the result. It takes a
# folder. We give it a temporary one, and keep the records in memory; to keep them for good, name a folder of your own.
# Neither the book's records nor yours are touched.

# %%
seeds = range(1, 1 + (2 if profile == "smoke" else 5))
with tempfile.TemporaryDirectory() as folder:
    for seed in seeds:
        for name, experiment in experiments.items():
            with recording(name, "laptop", seed, dataclasses.asdict(experiment), folder) as draft:
                experiment.run(Context(draft, seed, examples=digits))
    runs = load_all(folder)

metrics = {"test accuracy, %": "test_accuracy", "θ": "theta", "θ over neurons": "theta_neurons"}
summary({name: name for name in experiments}, metrics, runs=runs)

# %% tags=["remove-input"]
Markdown(provenance(experiments, runs=runs))

# %% [markdown]
# ## The verdict
#
# Means side by side decide nothing. What counts is the difference of each pair, and the 95 % interval of its mean: if
# it lies on one side of zero, the difference is *higher* or *lower*, else it is *open*.

# %% tags=["hide-output"]
changes = {
    name: difference("digits-small-geometric", "digits-small-atif-u", metric, runs=runs)
    for name, metric in metrics.items()
}
pd.DataFrame(changes).T.rename_axis("geometric less ATIF-u")

# %% tags=["hide-output"]
words = {True: "holds", False: "does not hold", None: "is open"}
verdicts = {claim.text: words[claim.holds(claim.measure(runs))] for claim in claims}
for text, verdict in verdicts.items():
    print(f"{text} With {len(seeds)} seeds this claim {verdict}.")

# %% [markdown]
# *Open* does not mean equal: it means that these seeds do not decide. And a verdict is about this network, these data
# and this recipe. Three epochs on digits measure how fast a network begins to learn. That is enough to see whether an
# idea is worth an evening of training, and not enough to say that it is good. The two claims are two questions: of such
# intervals, one in twenty is wrong.
#
# What did the networks make of the ratio?


# %% tags=["hide-input", "hide-output"]
def values(metric: str) -> pd.DataFrame:
    """Tabulate a metric of all runs: a row a seed, a column an experiment."""
    return pd.DataFrame(
        {name: {r.seed: r.metric(metric) for r in runs if r.experiment == name} for name in experiments}
    )


by_seed = {metric: values(metric).diff(axis=1)["digits-small-geometric"] for metric in ("test_accuracy", "theta")}
thresholds = values("thresholds")["digits-small-geometric"]
ratios = pd.DataFrame({seed: [v[1] / v[0] for v in layers.values()] for seed, layers in thresholds.items()})
ratios.index = pd.Index(range(1, 1 + len(ratios)), name="layer")

fig, axes = plt.subplot_mosaic("AB;CC", figsize=(6.4, 6.8), height_ratios=[2, 3])
for ax, claim, metric, label in zip(
    (axes["A"], axes["B"]), claims, by_seed, ("points of accuracy", "change of θ"), strict=True
):
    measured = claim.measure(runs)
    ax.plot(by_seed[metric], [1] * len(seeds), "o", linestyle="none", color=MINE["color"], alpha=0.7)
    reach = (measured.interval[1] - measured.interval[0]) / 2
    ax.errorbar(measured.mean, 0.6, xerr=reach, fmt="D", color=figures.BLACK, capsize=3)
    ax.axvline(0, color=figures.GREY, linewidth=1, linestyle="-")
    ax.set(xlabel=label, ylim=(0.3, 1.3))
    ax.set_yticks([1, 0.6], ["seeds", "mean"])
axes["B"].set_yticklabels([])
for seed, learned_ratios in ratios.items():
    label = "geometric" if seed == seeds[0] else None
    axes["C"].plot(learned_ratios, marker="o", linewidth=1.2, label=label, **MINE)
axes["C"].axhline(1, label="ATIF-u", **figures.neuron_style("ATIF-u"))
axes["C"].axhline(best.r, color=figures.GREY, linestyle=":", label="the lone neuron's best")
axes["C"].set(xlabel="layer", ylabel="learned ratio $r$", xticks=[1, 2, 3, 4])
axes["C"].legend()
means = ratios.mean(axis=1)
figures.show(
    fig,
    "own-network",
    alt=f"Geometric less ATIF-u, a dot for each seed and the mean with its interval: accuracy "
    f"{changes['test accuracy, %']['difference']} points, θ {changes['θ']['difference']}. Below, the learned ratio of the four "
    f"layers, a line for each seed; its means are {', '.join(f'{mean:.2f}' for mean in means)}.",
    caption="Above: our network less the base of the same seed (dots), and the mean with its 95 % interval (diamonds). Below: "
    "the ratio that each layer learned, a line for each seed; it starts at 1.",
    data=ratios.T.add_prefix("ratio of layer ").assign(seed=seeds, **by_seed),
)

# %% tags=["hide-output"]
for side, there in {"above 1": ratios > 1, "below 1": ratios < 1}.items():
    layers = [str(layer) for layer in ratios.index[there.all(axis=1)]]
    print(f"layers whose ratio ended {side} with every seed: {', '.join(layers) or 'none'}")
print(f"the lone neuron's best ratio is {best.r:.3f}; the largest that a layer learned is {ratios.max(axis=None):.2f}")

# %% [markdown]
# Compare this with your prediction, and with the dotted line. A layer of a network is not the lone neuron, for three
# reasons. The norm before it and the weights behind it supply the gain and the offset, so most of what a falling
# threshold is good for is there already. Its loss is not the square error of an estimate, so a layer may prefer to be
# silent where its neuron by itself would rather be exact. And behind the first layer the currents are not constant
# ([](11_deeper_layers.py)). Which of these it is, our records do not say. That would be the next experiment, and the
# last exercise begins it.
#
# Only the ratio is new. By Theorem 2 of [](14_better_neurons.py) the norm before a neuron can replace $V_1$, but it cannot
# replace $r$.
#
# ## To keep it
#
# The class, its name and its experiments end with this notebook. To have them in the book's repository takes five steps, of
# which you have done most. `CONTRIBUTING.md` says each in full, under "A neuron" and "A claim".
#
# 1. **The class** goes into a file of its own in `atif_lib/neurons/`, with its equation in the docstring.
# 2. **The name** is the line of `ACTIVATIONS` that you have written, in `atif_lib/networks/activations.py`.
# 3. **The experiments** are one line in `CHANGES["neuron"]`, in `atif_lib/experiments/registry.py`:
#    `"geometric": {"activation": "geometric"}`. Then `python -m atif_lib train cifar10-small-geometric --seeds 0 1 2`
#    trains the small network on real images and keeps the records.
# 4. **The test** is what you have checked above, in `tests/neurons/`:
#
#    ```python
#    def test_a_ratio_of_one_is_atif_u():
#        currents = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
#        spikes = [kind(4, threshold=0.8, step_mode="m")(currents) for kind in (ATIFu, Geometric)]
#        assert torch.equal(*spikes)
#    ```
#
# 5. **The claim** is an entry of `data/manifest.yml`, under `beyond`. Until there are records its verdict is `not run`:
#
#    ```yaml
#    - id: geometric-quieter
#      kind: claim
#      where: Beyond the paper
#      text: A learned ratio of the thresholds gives the small network on CIFAR-10 a lower θ.
#      chapter: 16_own_neuron
#      paper: 0
#      unit: θ
#      relation: "<"
#      ours: {experiment: cifar10-small-geometric, metric: theta, profile: laptop, minus: {experiment: cifar10-small-atif-u}}
#      verdict: not run
#      note: ""
#    ```
#
#    `python -m atif_lib report --check` then says which verdict the records give.
#
# Any node of SpikingJelly can take the place of our class, too ({ref}`ex-own-neuron`). Records then lack what only our
# neurons have, such as their thresholds.
#
# ## What can go wrong
#
# **A neuron that draws random numbers.** If `begin_with` draws one, all weights behind it are drawn from another
# place of the random sequence. The networks of a seed then start from different weights, and pairing is lost. The
# cell that compared the weights would have said so.
#
# **Numbers without a bound.** With $T = 16$ the last threshold is $V_1\, r^{15}$. A ratio of 2 makes it 32,768 times
# the first, and the last timesteps are silent. `ATIFu` keeps its threshold between bounds; our ten lines do not.
#
# **Choosing by the test images.** Whoever tries ten neurons on the test images and shows the best shows luck, too.
# `data.load("digits", validation=True)` gives training images that are held out for tests instead. With its argument
# `family`, `difference` gives Dunnett's interval for several neurons against one base ([](14_better_neurons.py)).
#
# **A name that is taken.** `ACTIVATIONS["atif-u"] = ...` would replace the base by your neuron, without a word, until the
# notebook is restarted.
#
# ## Exercises
#
# ```{exercise} Two timesteps
# :label: ex-geometric-two
# Take $T = 2$. Which $r$ is the best? Find it with pencil and paper, and check it with `scan(2)`. Why is nothing lost against
# free transitions?
# ```
#
# ```{solution} ex-geometric-two
# :class: dropdown
# The levels are 0, $\frac12 V_1$ and $V_1$. The first transition is at $\frac12 V_1 r$, the second at $V_1$. It should be in
# the middle of the first two levels, at $\frac14 V_1$: so $r = \frac12$, and the column `own, dB` of `scan(2)` agrees (with
# a free gain and offset it is 0.72). Two thresholds have one
# ratio, so for $T = 2$ our neuron *is* the one with free thresholds; its best is that of
# `ladder(GAUSSIAN, 2)["non-uniform, rate · p1"]`.
# ```
#
# ```{exercise} Half full
# :label: ex-geometric-half
# Let the membrane start half full: `scan(4, start=0.5)`. What is the best ratio now? Explain it.
# ```
#
# ```{solution} ex-geometric-half
# :class: dropdown
# By its own rule it is 1. With a half-step start the uniform neuron rounds to the nearest level already, for all steps, so
# a ratio can only spoil that. This shows once more what the falling thresholds were for. (With a free gain and offset it
# is 1.015, which is worth a hundredth of a decibel.)
# ```
#
# ```{exercise} A law of your own
# :label: ex-linear-thresholds
# Let the thresholds change *linearly*, $V_{th}(t) = V_1 + (V_T - V_1) \frac{t-1}{T-1}$. Which two numbers should be learned so
# that no threshold can become negative? Write the class for $T \ge 2$, and check it as above.
# ```
#
# ````{solution} ex-linear-thresholds
# :class: dropdown
# The logarithms of the first and of the last threshold: all others lie between these two.
# ```python
# class Linear(SoftResetNode):
#     def begin_with(self, threshold):
#         self.log_ends = nn.Parameter(torch.full((2,), float(threshold)).log())
#
#     @property
#     def thresholds(self):
#         first, last = self.log_ends.exp()
#         return first + (last - first) * torch.arange(self.timesteps) / (self.timesteps - 1)
# ```
# With equal ends it is ATIF-u up to rounding: `torch.testing.assert_close` of the thresholds is then the right check. In a
# network the arange also needs `device=self.log_ends.device`.
# ````
#
# ```{exercise} Where does the ratio end?
# :label: ex-ratio-start
# In the network the ratio starts at 1. Start it at the best ratio of the lone neuron instead, in a third experiment, and
# compare both with the base. Does $r$ end where it ended above?
# ```
#
# ````{solution} ex-ratio-start
# :class: dropdown
# ```python
# class Falling(Geometric):
#     def begin_with(self, threshold):
#         super().begin_with(threshold)
#         self.log_ratio.data.fill_(best.r).log_()
#
#
# ACTIVATIONS["falling"] = lambda channels, timesteps: Falling(timesteps, step_mode="m")
# experiments["digits-small-falling"] = NetworkExperiment("falling", "digits", "small", "falling", recipe, "laptop")
# ```
# Run the cell of the training again. Two neurons are now compared with one base, so give `difference` both of them as
# `family=["digits-small-geometric", "digits-small-falling"]`. If the ratios end near those above, the network prefers
# them; if they stay where they started, three epochs were too few to move them. A larger `threshold_lr` in
# the recipe tells the two apart.
# ````
#
# ## Recap
#
# * A neuron is a class of two methods: what it learns, and the thresholds that follow.
# * Check it where you know the answer: a special case, an exact staircase, a gradient for each parameter.
# * A ratio of the thresholds brings almost 3 dB to a lone neuron, as another way to the half step; with a free gain and
#   offset it brings 0.4 dB.
# * Write the claim before the training, pair the seeds, and let the interval speak.
# * What is good for a lone neuron is an idea for a network, not a result.
