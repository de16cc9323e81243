"""The experiments of the book by name: a few lines of configuration each, and one way to run them."""

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.distributions import Distribution, Laplace, Normal

from atif_lib import data
from atif_lib.facts import analysis_facts, staircase_facts
from atif_lib.networks import ACTIVATIONS, vgg_small
from atif_lib.neurons import IF, ATIFnu, ATIFu
from atif_lib.quantization import maximise_sqnr, uniform_staircase
from atif_lib.records import Draft, Record, load, recording
from atif_lib.training import Recipe, expected_sqnr_db, fit_neuron, train

__all__ = ["EXPERIMENTS", "NetworkExperiment", "NeuronExperiment", "find", "run"]

NEURONS = {"IF": IF, "ATIFu": ATIFu, "ATIFnu": ATIFnu}
DENSITIES = {"gaussian": lambda sigma: Normal(0.0, sigma), "laplace": lambda sigma: Laplace(0.0, sigma / 2**0.5)}


@dataclass(frozen=True)
class NeuronExperiment:
    """One neuron learns its threshold from random currents (Sections 3.3 and 3.4); V_th starts at 1."""

    summary: str
    neuron: str = "ATIFu"
    options: dict[str, Any] = field(default_factory=dict)
    density: str = "gaussian"
    sigma: float = 0.1
    target: str = "relu"
    steps: int = 5000

    def at(self, profile: str) -> "NeuronExperiment":
        """Return the experiment at the size of a profile."""
        return dataclasses.replace(self, steps=200) if profile == "smoke" else self

    def source(self) -> Distribution:
        """Density of the input current."""
        return DENSITIES[self.density](self.sigma)

    def build(self) -> torch.nn.Module:
        """Make the neuron, before learning."""
        return NEURONS[self.neuron](step_mode="m", **self.options)

    def run(self, draft: Draft, seed: int) -> None:
        """Fit, and fill in the record."""
        neuron, source = self.build(), self.source()
        start = expected_sqnr_db(IF(neuron.timesteps, step_mode="m"), source)
        draft.epochs = list(fit_neuron(neuron, source, target=self.target, steps=self.steps, seed=seed))
        last = draft.epochs[-1]
        threshold = last["thresholds"][0]
        draft.result = {
            "sqnr_db": last["sqnr_db"],
            "gain_db": last["sqnr_db"] - start,
            "threshold": threshold,
            "threshold_over_sigma": threshold / self.sigma,
            "thresholds": last["thresholds"],
        }
        if isinstance(neuron, ATIFnu):
            best = maximise_sqnr(lambda w: uniform_staircase(w[0].exp(), neuron.timesteps), [0.0])
            draft.result |= {"p": neuron.p.tolist(), "gain_over_uniform_db": last["sqnr_db"] - best.sqnr_db}


@dataclass(frozen=True)
class ExactExperiment:
    """Numbers that need no training and no seed."""

    summary: str
    measures: str

    def at(self, profile: str) -> "ExactExperiment":
        """Return the same at every profile."""
        return self

    def run(self, draft: Draft, seed: int) -> None:
        """Compute them; the seed is not used."""
        draft.result = {"staircase": staircase_facts, "analysis": analysis_facts}[self.measures]()


@dataclass(frozen=True)
class NetworkExperiment:
    """A small network trained on pictures; the activation is all that differs between them."""

    summary: str
    activation: str
    dataset: str = "cifar10"
    timesteps: int = 4
    recipe: Recipe = field(default_factory=lambda: Recipe(compile=True))
    train_images: int = 50_000
    test_images: int = 10_000

    def at(self, profile: str) -> "NetworkExperiment":
        """Return the experiment at the size of a profile."""
        if profile == "smoke":
            recipe = self.recipe._replace(epochs=1, compile=False)
            return dataclasses.replace(self, recipe=recipe, train_images=512, test_images=500)
        return self

    def build(self) -> torch.nn.Module:
        """Make the network, before training."""
        return vgg_small(ACTIVATIONS[self.activation], self.timesteps)

    def images(self) -> data.Examples:
        """Its pictures, the first ones where fewer are asked for than there are."""
        images = data.load(self.dataset)
        return images._replace(
            train_inputs=images.train_inputs[: self.train_images],
            train_labels=images.train_labels[: self.train_images],
            test_inputs=images.test_inputs[: self.test_images],
            test_labels=images.test_labels[: self.test_images],
        )

    def run(self, draft: Draft, seed: int) -> None:
        """Train, and fill in the record; the accuracy is the last epoch's."""
        torch.manual_seed(seed)
        network, images = self.build(), self.images()
        draft.data_sha256 = images.sha256
        for metrics in train(network, images, self.recipe, seed=seed):
            draft.epochs.append(metrics)
        draft.result = dict(draft.epochs[-1]) | {
            "thresholds": {n: m.thresholds.tolist() for n, m in network.named_modules() if hasattr(m, "thresholds")}
        }


LITERAL = {"surrogate": "absolute", "slope": 1.0}

EXPERIMENTS: dict[str, NeuronExperiment | NetworkExperiment | ExactExperiment] = {
    "toy-staircase": ExactExperiment("Figs 1, 2, 4 and Eqs 6, 7, 11, 19: what the staircases imply", "staircase"),
    "toy-analysis": ExactExperiment("the best staircases of each family, by exact integrals", "analysis"),
    "toy-fixed": NeuronExperiment("Fig. 3A: fixed V_th = 1, T = 4", "IF", steps=0),
    "toy-fixed-t20": NeuronExperiment("Fig. 3A: fixed V_th = 1, T = 20", "IF", {"timesteps": 20}, steps=0),
    "toy-atif-u": NeuronExperiment("Fig. 3: learned threshold, T = 4"),
    "toy-atif-u-half": NeuronExperiment("learned threshold, half-step start", options={"v0": 0.5, "slope": 8.0}),
    "toy-atif-u-literal": NeuronExperiment("Eqs 9-13 as printed", options=LITERAL, target="input"),
    "toy-atif-u-literal-relu": NeuronExperiment("Eqs 9-12 as printed, target ReLU(i)", options=LITERAL),
    "toy-laplace": NeuronExperiment("learned threshold, Laplace input", density="laplace"),
    "toy-atif-nu": NeuronExperiment("Fig. 5: learned non-uniform steps", "ATIFnu"),
    "toy-atif-nu-printed": NeuronExperiment("Fig. 5 with Eqs 14-19 as printed", "ATIFnu", {"form": "printed"}),
    "cifar10-small-relu": NetworkExperiment("small VGG on CIFAR-10, ReLU", "relu", timesteps=1),
    "cifar10-small-if": NetworkExperiment("small VGG on CIFAR-10, fixed V_th = 1", "if"),
    "cifar10-small-atif-u": NetworkExperiment("small VGG on CIFAR-10, ATIF-u", "atif-u"),
    "cifar10-small-atif-nu": NetworkExperiment("small VGG on CIFAR-10, ATIF-nu", "atif-nu"),
}


def find(name: str) -> NeuronExperiment | NetworkExperiment | ExactExperiment:
    """Look an experiment up; a ValueError for an unknown name lists the near ones."""
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, cutoff=0.4) or list(EXPERIMENTS)
        raise ValueError(f"unknown experiment {name!r}: did you mean {', '.join(near)}?")
    return EXPERIMENTS[name]


def run(name: str, profile: str = "laptop", seed: int = 0) -> Record:
    """Run an experiment and save its record.

    Args:
        name: one of ``EXPERIMENTS``.
        profile: ``'smoke'``, ``'laptop'`` or ``'full'``.
        seed: of weights and draws.

    Returns:
        The record, as it was saved in the results folder.

    Raises:
        ValueError: an unknown name or profile.
        data.DataUnavailable: its pictures are not there; the message says how to fetch them.
    """
    experiment = find(name).at(profile)
    with recording(name, profile, seed, dataclasses.asdict(experiment)) as draft:
        experiment.run(draft, seed)
    return load(draft.path)
