"""The experiments of the book by name, from top to bottom as the listing shows them: a few lines each.

A name says data set, network, activation and, where there is one, variant: see :func:`name_of`.
"""

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import Any

from atif_lib import checks
from atif_lib.experiments import recipes
from atif_lib.experiments.contract import Experiment
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.experiments.one_neuron import ExactExperiment, GradientExperiment, NeuronExperiment
from atif_lib.experiments.speed import SpeedExperiment
from atif_lib.networks import ACTIVATIONS, NETWORKS
from atif_lib.results.manifest import STAGES, chain

__all__ = ["CHANGES", "EXPERIMENTS", "find", "name_of"]

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "gsc": "Speech Commands, 35 words",
    "gsc13": "Speech Commands, 13 words",
}
PAPER_NETWORKS = (
    *product(("cifar10", "cifar100"), ("vgg16", "resnet18")),
    *product(("gsc", "gsc13"), ("resnet18",)),
)
SMALL_NETWORKS = tuple(product(("cifar10", "gsc13"), ("small", "resnet8")))

ROWS = ("relu", "if", "atif-u", "atif-nu", "atif-u-half", "quantized", "quantized-half", "quantized-fixed")
"""Activations of every network."""

CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "neuron": {  # the neuron, or its start, on the small networks
        "atif-u-absolute": {"activation": "atif-u-absolute"},
        "atif-u-rate": {"activation": "atif-u-rate"},
        "atif-u-v0": {"activation": "atif-u-v0"},
        "atif-u-channels": {"activation": "atif-u-channels"},
        "atif-u-charge": {"activation": "atif-u-charge"},
        "atif-u-all": {"activation": "atif-u-all", "data_start": True},
        "atif-u-data": {"data_start": True},
    },
    "levels": {  # how far the number of levels goes, on the small networks too
        "quantized-8": {"activation": "quantized-8"},
        "quantized-16": {"activation": "quantized-16"},
    },
    "worth": {  # of a learned threshold: other surrogates, and a fixed threshold at its best
        "atif-u-absolute-4": {"activation": "atif-u-absolute-4"},
        "atif-u-relative-1": {"activation": "atif-u-relative-1"},
        "if-data": {"activation": "if", "data_start": True},
    },
    "no norms": {  # the same where weights start with currents of unit variance or, unscaled, as torch draws them
        "if": {"activation": "if"},
        "if-data": {"activation": "if", "data_start": True},
        "atif-u": {},
    },
}
"""Rows that differ from atif-u, by the question that they answer: the fields of the experiment that are others."""

TIMESTEPS = {
    1: ("atif-u", "atif-u-half"),
    2: ("atif-u", "atif-u-half", "atif-nu"),
    8: ("atif-u", "atif-u-half", "atif-nu"),
}
"""Does accuracy follow the quantization error? Other T than 4; at T = 1 both ATIF are one neuron."""

WARM = {"atif-u": "quantized", "atif-u-half": "quantized-half"}
"""A spiking network that starts as a quantized one, in a third of the epochs."""


def name_of(dataset: str, network: str, activation: str, variant: str = "") -> str:
    """Return the name of an experiment: its parts, joined by hyphens."""
    return "-".join(filter(None, (dataset, network, activation, variant)))


def _is_sound(dataset: str) -> bool:
    return dataset.startswith("gsc")


Named = tuple[str, NetworkExperiment]


def _direct() -> Iterator[Named]:
    """Yield every network with every row, in our protocol and, for the paper's networks, in the paper's."""
    for dataset, network in PAPER_NETWORKS:
        fast, paper = (
            (recipes.FAST_SPEECH, recipes.PAPER_SPEECH) if _is_sound(dataset) else (recipes.FAST, recipes.PAPER)
        )
        for activation in ROWS:
            summary = f"{TITLES[dataset]}, {network}, {activation}"
            for variant, recipe, words in (("", fast, ""), ("paper", paper, ", the paper's protocol")):
                made = NetworkExperiment(summary + words, dataset, network, activation, recipe)
                yield name_of(dataset, network, activation, variant), made
    for dataset, network in SMALL_NETWORKS:
        recipe = recipes.SMALL_SPEECH if _is_sound(dataset) else recipes.SMALL
        for activation in ROWS:
            summary = f"{TITLES[dataset]}, {network}, {activation}"
            made = NetworkExperiment(summary, dataset, network, activation, recipe, "laptop")
            yield name_of(dataset, network, activation), made


def _like(
    base: NetworkExperiment, words: str, recipe: dict[str, Any] | None = None, **changes: Any
) -> NetworkExperiment:
    """Return an experiment that differs from another in its recipe and its fields; ``words`` say in what."""
    changed = dataclasses.replace(base.recipe, **recipe or {})
    return dataclasses.replace(base, recipe=changed, summary=f"{base.summary}, {words}", **changes)


def _variants(direct: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield what differs in one thing from an experiment of direct training."""
    for (dataset, network), (activation, start) in product((*PAPER_NETWORKS, *SMALL_NETWORKS), WARM.items()):
        base = direct[name_of(dataset, network, activation)]
        shorter = {"epochs": base.recipe.epochs // 3, "lr": base.recipe.lr / 5}
        warm = _like(base, f"from {start}", shorter, start=name_of(dataset, network, start))
        yield name_of(dataset, network, activation, "warm"), warm
    for dataset, (name, change) in product(("cifar10", "gsc13"), (CHANGES["neuron"] | CHANGES["levels"]).items()):
        base = direct[name_of(dataset, "small", "atif-u")]
        summary = f"{TITLES[dataset]}, small, {name}"
        yield name_of(dataset, "small", name), dataclasses.replace(base, summary=summary, **change)
    for join in ("add", "iand"):
        base = direct[name_of("cifar10", "resnet8", "atif-u")]
        yield name_of("cifar10", f"resnet8-{join}", "atif-u"), _like(base, f"SEW {join}", network=f"resnet8-{join}")
    for dataset, network in SMALL_NETWORKS:  # for as many epochs as the stages together
        base = direct[name_of(dataset, network, "atif-u")]
        epochs = sum(recipes.stage(n, network, _is_sound(dataset), small=True).epochs for n in range(3))
        yield name_of(dataset, network, "atif-u", "long"), _like(base, f"{epochs} epochs", {"epochs": epochs})


def _worth(direct: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield what a learned threshold is worth: with norms, at other rates, in more epochs, and without norms."""
    base = direct[name_of("cifar10", "small", "atif-u")]
    for row, change in CHANGES["worth"].items():
        yield name_of("cifar10", "small", row), dataclasses.replace(base, summary=f"CIFAR-10, small, {row}", **change)
    for other in (direct[name_of("cifar10", "small", activation)] for activation in ("relu", "if", "atif-u")):
        for variant, factor in (("slow", 0.3), ("fast", 3.0), ("fastest", 10.0)):
            changed = {"lr": round(factor * other.recipe.lr, 6)}
            yield name_of("cifar10", "small", other.activation, variant), _like(other, f"lr × {factor:g}", changed)
        long = {"epochs": 10 * other.recipe.epochs}
        yield name_of("cifar10", "small", other.activation, "x10"), _like(other, "ten times the epochs", long)
    for row in ("if", "atif-u"):  # how far one seed ends from itself
        yield name_of("cifar10", "small", row, "again"), _like(direct[name_of("cifar10", "small", row)], "once more")
    fitted = _like(direct[name_of("cifar10", "small", "if")], "threshold from data", data_start=True)
    residual = {row: direct[name_of("cifar10", "resnet8", row)] for row in ("if", "atif-u")}
    residual["if-data"] = _like(residual["if"], "threshold from data", data_start=True)
    yield name_of("cifar10", "resnet8", "if-data"), residual["if-data"]
    faster = {("small", "if-data"): fitted, **{("resnet8", row): made for row, made in residual.items()}}
    for (network, row), made in faster.items():
        fast = {"lr": round(3 * made.recipe.lr, 6)}
        yield name_of("cifar10", network, row, "fast"), _like(made, "lr × 3", fast)
    plain = _like(base, "no norms", {"clip": 1.0}, network="small-plain", scale_start=True)
    for row, change in CHANGES["no norms"].items():
        made = dataclasses.replace(plain, summary=f"CIFAR-10, small without norms, {row}", **change)
        yield name_of("cifar10", "small-plain", row), made
        slow = {"lr": 0.3 * made.recipe.lr}
        yield name_of("cifar10", "small-plain", row, "slow"), _like(made, "lr × 0.3", slow)
        if row != "if-data":
            yield name_of("cifar10", "small-plain", row, "raw"), _like(made, "unscaled", scale_start=False)


def _timesteps(direct: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield the small network at other T, and with thresholds that stay in the safe region."""
    base = direct[name_of("cifar10", "small", "atif-nu")]
    yield name_of("cifar10", "small", "atif-nu-safe"), _like(base, "in the safe region", activation="atif-nu-safe")
    for timesteps, activations in TIMESTEPS.items():
        for activation in activations:
            made = _like(direct[name_of("cifar10", "small", activation)], f"T = {timesteps}", timesteps=timesteps)
            yield name_of("cifar10", "small", activation, f"t{timesteps}"), made


def _staged(direct: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield the three stages of every network, by which Tables 1 to 3 can be made without a GPU."""
    for (dataset, network), activation in product((*PAPER_NETWORKS, *SMALL_NETWORKS), STAGES):
        base = direct[name_of(dataset, network, activation)]
        name = name_of(dataset, network, activation, "staged")
        *before, _ = chain(name)
        yield (
            name,
            dataclasses.replace(
                base,
                recipe=recipes.stage(len(before), network, _is_sound(dataset), small=base.size == "laptop"),
                start=before[-1] if before else None,
                summary=f"{base.summary}, in stages",
            ),
        )


def _earlier(staged: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield ResNet-18's stages by the recipe before this one: whole images alone, and Cutout in every stage."""
    for activation in ("relu", "quantized", "quantized-fixed", "if", "atif-u"):
        base = staged[name_of("cifar10", "resnet18", activation, "staged")]
        changed = {"scales": (1.0,), "augment": (*base.recipe.augment, "cutout")}
        made = _like(base, "whole images, Cutout", changed, start=f"{base.start}-cutout" if base.start else None)
        yield name_of("cifar10", "resnet18", activation, "staged-cutout"), made


def _rates(staged: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield the spiking stage of the small network at other learning rates, by which its rate was chosen."""
    base = staged[name_of("cifar10", "small", "atif-u", "staged")]
    for variant, factor in (("slow", 0.3), ("fast", 3.0)):
        rates = {"lr": factor * base.recipe.lr, "threshold_lr": factor * base.recipe.threshold_lr}
        yield name_of("cifar10", "small", "atif-u", f"staged-{variant}"), _like(base, f"rates × {factor:g}", rates)


def _first_stages(staged: dict[str, NetworkExperiment]) -> Iterator[Named]:
    """Yield first stages half as wide as ResNet-18: three short ones of one cost, and one of four times the epochs."""
    base = staged[name_of("cifar10", "resnet18", "relu", "staged")]
    growing = _like(base, "half the width", {"epochs": 6}, network="resnet18-half")
    whole = _like(growing, "whole images", {"epochs": 4, "scales": (1.0,)})
    cutout = _like(whole, "Cutout", {"augment": (*whole.recipe.augment, "cutout")})
    long = _like(growing, "four times the epochs", {"epochs": 24})
    tried = {"staged": growing, "staged-whole": whole, "staged-cutout": cutout, "staged-long": long}
    for variant, made in tried.items():
        yield name_of("cifar10", "resnet18-half", "relu", variant), made


def _trained() -> dict[str, NetworkExperiment]:
    direct = dict(_direct())
    staged = dict(_staged(direct))
    chosen = *_rates(staged), *_first_stages(staged), *_earlier(staged)
    return dict((*direct.items(), *_variants(direct), *_worth(direct), *_timesteps(direct), *staged.items(), *chosen))


LITERAL = {"surrogate": "absolute", "slope": 1.0}
SPIKINGJELLY = {"surrogate": "absolute", "slope": 4.0, "detach_reset": True}  # 4 is the default of its Sigmoid

EXPERIMENTS: dict[str, Experiment] = {
    "toy-staircase": ExactExperiment("Figs 1, 2, 4 and Eqs 6, 7, 11, 19: what the staircases imply", "staircase"),
    "toy-analysis": ExactExperiment("the best staircases of each family, by exact integrals", "analysis"),
    "limits-ladder": ExactExperiment("the best of each family of staircases, T = 1 ... 16", "ladder"),
    "limits-realisable": ExactExperiment("the best that T thresholds realise, T = 1 ... 8", "realisable"),
    "limits-counts": ExactExperiment("thresholds that count as Lloyd-Max does, T = 9 ... 11", "counts"),
    "network-spikes": ExactExperiment("Section 2: spikes are binary", "spikes"),
    "network-gradients": GradientExperiment("Section 5: whether gradients vanish"),
    "speed": SpeedExperiment("time and memory of a training step against SpikingJelly's and the ReLU network's"),
    "gsc-features": ExactExperiment("Section 4.1: frames of features in a second of sound", "features"),
    "toy-fixed": NeuronExperiment("Fig. 3A: fixed V_th = 1, T = 4", "IF", steps=0),
    "toy-fixed-t20": NeuronExperiment("Fig. 3A: fixed V_th = 1, T = 20", "IF", {"timesteps": 20}, steps=0),
    "toy-atif-u": NeuronExperiment("Fig. 3: learned threshold, T = 4"),
    "toy-atif-u-half": NeuronExperiment(
        "learned threshold, half-step start, slope 8", options={"v0": 0.5, "slope": 8.0}
    ),
    "toy-atif-u-eq11": NeuronExperiment("Eqs 9-13 to the letter", "Eq11", LITERAL, target="input"),
    "toy-atif-u-eq11-relu": NeuronExperiment("Eqs 9-12 to the letter, target ReLU(i)", "Eq11", LITERAL),
    "toy-atif-u-literal": NeuronExperiment(
        "Eqs 9, 10, 13 with the reset in the graph", options=LITERAL, target="input"
    ),
    "toy-atif-u-literal-relu": NeuronExperiment("the same, target ReLU(i)", options=LITERAL),
    "toy-atif-u-spikingjelly": NeuronExperiment(
        "Eq. 10 with slope 4, spike of the reset detached, target ReLU(i)", options=SPIKINGJELLY, steps=10_000
    ),
    "toy-laplace": NeuronExperiment("learned threshold, Laplace input", density="laplace"),
    "toy-atif-nu": NeuronExperiment("Fig. 5: learned non-uniform steps", "ATIFnu"),
    "toy-atif-nu-printed": NeuronExperiment("Fig. 5 with Eqs 14-19 as printed", "ATIFnu", {"form": "printed"}),
    "toy-atif-nu-long": NeuronExperiment("Fig. 5 in four times the steps", "ATIFnu", steps=20_000),
    "toy-atif-nu-printed-long": NeuronExperiment(
        "Fig. 5 with Eqs 14-19 as printed, in four times the steps", "ATIFnu", {"form": "printed"}, steps=20_000
    ),
    **_trained(),
}


def find(name: str) -> Experiment:
    """Look an experiment up.

    Raises:
        ValueError: an unknown name, with at most five near ones; or an experiment of an activation or network that
            is not registered.
    """
    if name not in EXPERIMENTS:
        hint = checks.did_you_mean(name, EXPERIMENTS, most=5)
        raise ValueError(f"unknown experiment {name!r}{hint or '.'} The command `list` shows all {len(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    if isinstance(experiment, NetworkExperiment):
        checks.choice(f"activation of {name}", experiment.activation, ACTIVATIONS)
        checks.choice(f"network of {name}", experiment.network, NETWORKS)
    return experiment
