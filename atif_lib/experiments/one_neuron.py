"""Experiments with one neuron, or with none: what they need besides a name is a few lines of configuration."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal

from atif_lib.experiments.contract import Context
from atif_lib.experiments.currents import gradient_facts, spike_facts
from atif_lib.experiments.facts import (
    analysis_facts,
    count_facts,
    frame_facts,
    ladder_facts,
    realisable_facts,
    staircase_facts,
)
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.neurons.fitting import expected_sqnr_db, fit_neuron
from atif_lib.neurons.soft_reset import SoftResetNode
from atif_lib.quantization.density import GAUSSIAN, LAPLACE
from atif_lib.quantization.families import best_uniform

__all__ = ["Eq11", "ExactExperiment", "GradientExperiment", "NeuronExperiment"]


class Eq11(ATIFu):
    r"""ATIF-u with the whole reset left out of the gradient, so that Eq. 11 holds to the letter after a spike too.

    .. math:: \frac{\partial q}{\partial V_{th}} = -1, \quad q = H(t) - V_{th}

    With ``detach_reset=True`` it is the spike alone that is left out, as in SpikingJelly: the threshold that is taken
    off still counts.
    """

    def integrate_and_fire(self, x_seq: Tensor, thresholds: Tensor, v: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Spikes of each timestep, and the membranes that the base class returns."""
        spikes, membranes = [], []
        for x, threshold in zip(x_seq, thresholds, strict=False):
            h = v + x  # Eq. 2
            spikes.append(self._fire(h, threshold))  # Eq. 4
            v = h - (threshold * spikes[-1]).detach()  # Eq. 5
            membranes = [*membranes, v] if self.store_v_seq else [v]
        return spikes, membranes


NEURONS = {"IF": IF, "ATIFu": ATIFu, "ATIFnu": ATIFnu, "Eq11": Eq11}
SHAPES = {"gaussian": GAUSSIAN, "laplace": LAPLACE}
DENSITIES = {"gaussian": lambda sigma: Normal(0.0, sigma), "laplace": lambda sigma: Laplace(0.0, sigma / 2**0.5)}


@dataclass(frozen=True)
class NeuronExperiment:
    """One neuron learns its threshold from random currents (Sections 3.3 and 3.4); V_th starts at 1."""

    summary: str
    neuron: str = "ATIFu"
    options: dict[str, Any] = field(default_factory=dict)
    density: str = "gaussian"
    sigma: float = 0.1
    target: Literal["relu", "input"] = "relu"
    steps: int = 5000
    profiles = ("smoke", "laptop")

    def at(self, profile: str) -> "NeuronExperiment":
        """Return the experiment at the size of a profile."""
        return dataclasses.replace(self, steps=200) if profile == "smoke" else self

    def current(self) -> Distribution:
        """Density of the input current."""
        return DENSITIES[self.density](self.sigma)

    def build(self) -> SoftResetNode:
        """Make the neuron, before learning."""
        return NEURONS[self.neuron](step_mode="m", **self.options)

    def run(self, context: Context) -> None:
        """Fit, and fill in the record."""
        draft, seed = context.draft, context.seed
        neuron, current = self.build(), self.current()
        fixed = expected_sqnr_db(IF(neuron.timesteps, step_mode="m"), current)
        draft.epochs = list(fit_neuron(neuron, current, target=self.target, steps=self.steps, seed=seed))
        last = draft.epochs[-1]
        threshold = last["thresholds"][0]
        draft.result = {
            "sqnr_db": last["sqnr_db"],
            "gain_db": last["sqnr_db"] - fixed,
            "threshold": threshold,
            "threshold_over_sigma": threshold / self.sigma,
            "thresholds": last["thresholds"],
        }
        if isinstance(neuron, ATIFnu):
            best = best_uniform(SHAPES[self.density], neuron.timesteps)
            draft.result |= {"p": neuron.p.tolist(), "gain_over_uniform_db": last["sqnr_db"] - best.sqnr_db}


FACTS = {
    "staircase": staircase_facts,
    "analysis": analysis_facts,
    "ladder": ladder_facts,
    "realisable": realisable_facts,
    "counts": count_facts,
    "spikes": spike_facts,
    "features": frame_facts,
}


@dataclass(frozen=True)
class ExactExperiment:
    """Numbers that need no training and no seed."""

    summary: str
    measures: str
    profiles = ("laptop",)

    def at(self, profile: str) -> "ExactExperiment":
        """Return the same at every profile."""
        return self

    def run(self, context: Context) -> None:
        """Compute them; the seed is not used."""
        context.draft.result = FACTS[self.measures]()


@dataclass(frozen=True)
class GradientExperiment:
    """Gradients of networks before any training, for a draw of weights and inputs by each seed."""

    summary: str
    profiles = ("laptop",)

    def at(self, profile: str) -> "GradientExperiment":
        """Return the same at every profile."""
        return self

    def run(self, context: Context) -> None:
        """Draw and measure, and fill in the record."""
        context.draft.result = gradient_facts(context.seed)
