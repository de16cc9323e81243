"""Experiments that train a network."""

import dataclasses
import hashlib
import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_weights
from tqdm import tqdm

from atif_lib import data
from atif_lib.data.storage import file_sha256
from atif_lib.experiments.contract import Context
from atif_lib.experiments.currents import current_moments
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS, Network, cost, neurons_of, set_timesteps
from atif_lib.networks.initialisation import scale_from_data, start_from_data, start_from_network
from atif_lib.neurons.soft_reset import SoftResetNode
from atif_lib.results.environment import first_process
from atif_lib.training.batches import Batches
from atif_lib.training.checkpoints import save_weights
from atif_lib.training.evaluation import accuracy_over_time, confusion
from atif_lib.training.execution import recipe_here
from atif_lib.training.layer_errors import affine_sqnr_db, layer_errors
from atif_lib.training.loop import train
from atif_lib.training.recipe import Recipe

__all__ = ["STAND_INS", "WEIGHTS", "NetworkExperiment", "behaviour"]

WEIGHTS = "weights.safetensors"
"""Name of the file of a run's weights, in its folder."""

_FEW = 1000  # test examples by which the SQNR of each layer is measured

STAND_INS = {"cifar10": "digits", "cifar100": "digits", "gsc": "keywords", "gsc13": "keywords"}
"""Small data sets that the smoke profile takes where the real one is not there."""


@dataclass(frozen=True)
class NetworkExperiment:
    """A network trained on images or sounds; a table's row has one for each cell."""

    summary: str
    dataset: str
    network: str
    activation: str
    recipe: Recipe
    size: str = "full"  # the profile of its results: laptop for the small networks, full for the paper's
    timesteps: int = 4
    validation: bool = False  # test on a part of the training data: to choose hyperparameters by
    limit: int | None = None  # only so many training examples, and as many test examples
    start: str | None = None  # the experiment whose weights, of the same seed, it starts from
    data_start: bool = False  # thresholds start at the optimum for the first training batch
    scale_start: bool = False  # weights start with currents of unit variance for the first training batch

    @property
    def profiles(self) -> tuple[str, ...]:
        """Profiles that it has; the last is that of its results."""
        return ("smoke", self.size)

    def at(self, profile: str) -> "NetworkExperiment":
        """Return the experiment at the size of a profile."""
        if profile != "smoke":
            return self
        batch = 64 if self.size == "laptop" else 8
        recipe = dataclasses.replace(self.recipe, epochs=1, batch_size=batch, compile=False, precision="32-true")
        return dataclasses.replace(self, recipe=recipe, limit=8 * batch)

    def build(self, examples: data.Examples) -> Network:
        """Make the network, before training, with inputs and classes of these examples."""
        sizes = {"classes": len(examples.classes), "in_channels": examples.test_inputs.shape[1]}
        return NETWORKS[self.network](ACTIVATIONS[self.activation], self.timesteps, **sizes)

    def examples(self) -> data.Examples:
        """Its data, evenly thinned where there is a limit; a small stand-in only where that limit is set."""
        try:
            examples = data.load(self.dataset, self.validation)
        except data.DataUnavailable:
            if self.limit is None:
                raise
            examples = data.load(STAND_INS[self.dataset], self.validation)
        return examples if self.limit is None else examples.thinned(self.limit)

    def run(self, context: Context) -> None:
        """Train, from the weights of ``start`` if given, write the weights, and fill in the record.

        The accuracy is the last epoch's, the precision the one that this machine is quick in.
        """
        draft, seed, start = context.draft, context.seed, context.start
        examples = self.examples() if context.examples is None else context.examples
        if context.examples is None and examples.name == STAND_INS.get(self.dataset) and first_process():
            taken = f"this smoke run takes {examples.name} in its place"
            tqdm.write(f"{self.dataset} is not here: {taken}", file=sys.stderr)
        torch.manual_seed(seed)
        network = self.build(examples)
        recipe = recipe_here(self.recipe)
        batches = Batches(examples, recipe, seed)
        if start:
            content = start.read_bytes()  # read once: the run that it is of may end anew meanwhile
            start_from_network(network, load_weights(content), batches.draw(0, 0)[0])
            draft.result["start_sha256"] = hashlib.sha256(content).hexdigest()
        if self.scale_start:
            scale_from_data(network, batches.draw(0, 0)[0])
        if self.data_start:
            start_from_data(network, batches.draw(0, 0)[0])
        own = _own_neurons(network)
        first = _thresholds(own)
        draft.data_sha256 = examples.sha256
        origin: dict[str, Any] = {key: True for key in ("scale_start", "data_start") if getattr(self, key)}
        if start:
            origin["start_sha256"] = draft.result["start_sha256"]
        options = {"seed": seed, "folder": context.folder, "resume": context.resume}
        options |= {"started": bool(start), "origin": origin}
        begun = time.perf_counter()
        draft.epochs = list(train(network, examples, recipe, **options))
        draft.earlier_s = max(0.0, draft.epochs[-1]["seconds"] - (time.perf_counter() - begun))
        draft.result |= draft.epochs[-1] | cost(network, examples.test_inputs.shape[1:])._asdict()
        draft.result |= {
            "source": examples.source,
            "precision": recipe.precision,
            **({"deterministic": True} if torch.are_deterministic_algorithms_enabled() else {}),
            "thresholds_at_start": first,
            "thresholds": _thresholds(own),
            "v0": {name: torch.as_tensor(neuron.v0).item() for name, neuron in own.items()},
        }
        if own and len(own) == len(neurons_of(network)):
            draft.result |= behaviour(network, examples, recipe)
        if first_process() and context.folder is not None:
            save_weights(network, context.folder / WEIGHTS)
            draft.result["weights_sha256"] = file_sha256(context.folder / WEIGHTS)


def behaviour(network: Network, examples: data.Examples, recipe: Recipe) -> dict[str, Any]:
    """Return what a trained spiking network does, in numbers that a record can hold once its weights are gone.

    Returns:
        In the precision of the training: ``accuracy_over_time``, test accuracy in percent after 1, 2, ... timesteps, up
        to T with a threshold for each timestep and up to 2 T with one for all; ``confusion``, see
        :func:`~atif_lib.training.evaluation.confusion`. For each layer, on 1,000 test examples in float32:
        ``currents``, see :func:`~atif_lib.experiments.currents.current_moments`, ``errors`` and ``sqnr_db_layers``, see
        :mod:`atif_lib.training.layer_errors`. None stands for what a layer without current does not have.
    """
    tested = examples.tested_on(_FEW)
    layers = {
        "currents": current_moments(network, tested),
        "errors": {name: errors._asdict() for name, errors in layer_errors(network, tested).items()},
        "sqnr_db_layers": affine_sqnr_db(network, tested),
    }
    timesteps, device = network.timesteps, next(network.parameters()).device.type
    with suppress(ValueError):  # neurons with a threshold for each timestep stay at T
        set_timesteps(network, 2 * timesteps)
    with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bf16-mixed"):
        over_time = accuracy_over_time(network, examples)
        set_timesteps(network, timesteps)
        confused = confusion(network, examples).tolist()
    return _finite(layers) | {"accuracy_over_time": over_time, "confusion": confused}


def _finite(values: Any) -> Any:
    """Return nested dictionaries of numbers with None in the place of NaN and infinity, which JSON lacks."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    return values if math.isfinite(values) else None


def _thresholds(neurons: dict[str, SoftResetNode]) -> dict[str, list]:
    return {name: neuron.thresholds.tolist() for name, neuron in neurons.items()}


def _own_neurons(network: Network) -> dict[str, SoftResetNode]:
    """Neurons of this library: SpikingJelly's own have neither `thresholds` nor `v0`."""
    return {name: m for name, m in neurons_of(network).items() if isinstance(m, SoftResetNode)}
