"""The experiments of the book by name: a few lines of configuration each, and one way to run them."""

import dataclasses
import difflib
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file

from atif_lib import data
from atif_lib.checkpoints import save_weights
from atif_lib.environment import first_process
from atif_lib.initialisation import start_from_data, start_from_network
from atif_lib.networks import ACTIVATIONS, NETWORKS, WITHOUT_TIME, Network, cost, neurons
from atif_lib.neuron_experiments import ExactExperiment, NeuronExperiment
from atif_lib.records import Draft
from atif_lib.soft_reset import SoftResetNode
from atif_lib.speed import SpeedExperiment
from atif_lib.storage import file_sha256
from atif_lib.training import Batches, Recipe, train

__all__ = ["EXPERIMENTS", "NetworkExperiment", "NeuronExperiment", "find"]


@dataclass(frozen=True)
class NetworkExperiment:
    """A network trained on pictures or sounds; a table's row has one for each cell."""

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
        timesteps = 1 if self.activation in WITHOUT_TIME else self.timesteps
        sizes = {"classes": len(examples.classes), "in_channels": examples.test_inputs.shape[1]}
        return NETWORKS[self.network](ACTIVATIONS[self.activation], timesteps, **sizes)

    def examples(self) -> data.Examples:
        """Its data, evenly thinned where there is a limit; a small stand-in only where that limit is set."""
        try:
            examples = data.load(self.dataset, self.validation)
        except data.DataUnavailable:
            if self.limit is None:
                raise
            examples = data.load(STAND_INS[self.dataset], self.validation)
        return examples if self.limit is None else examples.thinned(self.limit)

    def run(
        self,
        draft: Draft,
        seed: int,
        examples: data.Examples,
        folder: Path,
        resume: bool = False,
        start: Path | None = None,
    ) -> None:
        """Train, from the weights of ``start`` if given, write weights.safetensors, and fill in the record.

        The accuracy is the last epoch's.
        """
        begun = time.perf_counter()
        torch.manual_seed(seed)
        network = self.build(examples)
        batches = Batches(examples, self.recipe, seed)
        if start:
            start_from_network(network, load_file(start), batches.draw(0, 0)[0])
            draft.result["start_sha256"] = file_sha256(start)
        if self.data_start:
            start_from_data(network, batches.draw(0, 0)[0])
        first = _thresholds(network)
        draft.data_sha256 = examples.sha256
        options = {"seed": seed, "folder": folder, "resume": resume}
        if start:
            options |= {"started": True, "origin": {"start_sha256": draft.result["start_sha256"]}}
        draft.epochs = list(train(network, examples, self.recipe, **options))
        draft.result |= draft.epochs[-1] | cost(network, examples.test_inputs.shape[1:])._asdict()
        draft.result |= {
            "source": examples.source,
            "thresholds_at_start": first,
            "thresholds": _thresholds(network),
            "v0": {n: torch.as_tensor(m.v0).item() for n, m in _own_neurons(network).items()},
        }
        draft.earlier_s = max(0.0, draft.epochs[-1]["seconds"] - (time.perf_counter() - begun))
        if first_process():
            save_weights(network, folder / "weights.safetensors")
            draft.result["weights_sha256"] = file_sha256(folder / "weights.safetensors")


def _thresholds(network: Network) -> dict[str, list]:
    return {name: neuron.thresholds.tolist() for name, neuron in _own_neurons(network).items()}


def _own_neurons(network: Network) -> dict[str, torch.nn.Module]:
    """Neurons of this library: SpikingJelly's own have neither `thresholds` nor `v0`."""
    return {name: m for name, m in neurons(network).items() if isinstance(m, SoftResetNode)}


# The paper's protocol (Section 4.1). It does not give batch size, momentum, weight decay, the learning rate of the
# thresholds or the precision: those are ours. Its "random resize" is read as torchvision's RandomResizedCrop.
PAPER = Recipe(
    epochs=900,
    batch_size=128,
    lr=0.08,
    threshold_lr=0.08,
    nesterov=False,
    schedule="step",
    warmup=0.0,
    augment=("resize", "flip"),
    mix="mixup",
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
# "The same training configuration" for sound, but for rate and epochs. A spectrogram is neither resized nor mirrored.
PAPER_SPEECH = dataclasses.replace(
    PAPER, epochs=80, lr=1e-3, threshold_lr=1e-3, step_epochs=20, step_factor=0.1, augment=()
)
FAST = Recipe(
    epochs=60,
    batch_size=256,
    lr=0.2,
    warmup=0.1,
    augment=("crop", "flip", "autoaugment", "cutout"),
    label_smoothing=0.1,
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
FAST_SPEECH = dataclasses.replace(FAST, epochs=30, augment=("shift", "mask"))
# Three stages for a processor: a ReLU network, its quantized twin, and that as spikes. Each starts from the one before.
STAGED = Recipe(
    epochs=20,
    batch_size=128,
    augment=("crop", "flip", "cutout"),
    label_smoothing=0.1,
    precision="bf16-mixed",
    channels_last=True,
    compile=True,
)
SMALL = Recipe(epochs=3, compile=True)
SMALL_SPEECH = dataclasses.replace(SMALL, epochs=15, augment=("shift", "mask"), precision="bf16-mixed")

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "gsc": "Speech Commands, 35 words",
    "gsc13": "Speech Commands, 13 words",
}
STAND_INS = {"cifar10": "digits", "cifar100": "digits", "gsc": "keywords", "gsc13": "keywords"}
LARGE = (("cifar10", "vgg16"), ("cifar10", "resnet18"), ("cifar100", "vgg16"), ("cifar100", "resnet18"))
LARGE += (("gsc", "resnet18"), ("gsc13", "resnet18"))
SMALLER = tuple(product(("cifar10", "gsc13"), ("small", "resnet8")))
# What each change of the neuron or its start does to atif-u, on the small networks alone.
BETTER = {
    name: {"activation": name}
    for name in ("atif-u-absolute", "atif-u-rate", "atif-u-v0", "atif-u-channels", "atif-u-charge", "atif-u-all")
}
BETTER["atif-u-all"] |= {"data_start": True}
BETTER["atif-u-data"] = {"data_start": True}
# How far the number of levels goes, on the small networks too.
FINER = {name: {"activation": name} for name in ("quantized-8", "quantized-16")}


def _network_experiments() -> dict[str, NetworkExperiment]:
    """Every data set with its networks and activations, in our protocol and, where there is one, in the paper's."""
    found, variants = {}, BETTER | FINER
    for dataset, network in (*LARGE, *SMALLER):
        size = "full" if (dataset, network) in LARGE else "laptop"
        sound = dataset.startswith("gsc")
        fast, paper = (FAST_SPEECH, PAPER_SPEECH) if sound else (FAST, PAPER)
        recipes = {"": fast, "-paper": paper} if size == "full" else {"": SMALL_SPEECH if sound else SMALL}
        for activation, (suffix, recipe) in product([a for a in ACTIVATIONS if a not in variants], recipes.items()):
            summary = f"{TITLES[dataset]}, {network}, {activation}" + (", the paper's protocol" if suffix else "")
            name = f"{dataset}-{network}-{activation}{suffix}"
            found[name] = NetworkExperiment(summary, dataset, network, activation, recipe, size)
    for name, static in product(list(found), WITHOUT_TIME[1:]):  # a spiking network that starts as a quantized one
        base = found[name]
        if base.activation == static.replace("quantized", "atif-u") and not name.endswith("-paper"):
            recipe = dataclasses.replace(base.recipe, epochs=base.recipe.epochs // 3, lr=base.recipe.lr / 5)
            found[f"{name}-warm"] = dataclasses.replace(
                base, recipe=recipe, start=name.replace("atif-u", "quantized"), summary=f"{base.summary}, from {static}"
            )
    for dataset, (other, change) in product(("cifar10", "gsc13"), variants.items()):
        base, summary = found[f"{dataset}-small-atif-u"], f"{TITLES[dataset]}, small, {other}"
        found[f"{dataset}-small-{other}"] = dataclasses.replace(base, summary=summary, **change)
    for join in ("add", "iand"):
        name, base = f"cifar10-resnet8-{join}-atif-u", found["cifar10-resnet8-atif-u"]
        found[name] = dataclasses.replace(base, network=f"resnet8-{join}", summary=f"{base.summary}, SEW {join}")
    return found | _staged(found)


# The stage of each row, and the row that it starts from.
STAGES = {
    "relu": (0, None),
    "quantized-fixed": (1, "relu"),
    "quantized": (1, "relu"),
    "if": (2, "quantized-fixed"),
    "atif-u": (2, "quantized"),
    "atif-nu": (2, "quantized"),
}
# Epochs and learning rates of the three stages. The small networks' take about as long as their direct training.
STAGE_EPOCHS = {"cifar": (20, 6, 2), "gsc": (8, 3, 2), "cifar small": (3, 1, 1), "gsc small": (12, 6, 6)}
STAGE_RATES = ({}, {"lr": 0.02, "threshold_lr": 0.002}, {"lr": 0.01, "threshold_lr": 0.001})


def _staged(found: dict[str, NetworkExperiment]) -> dict[str, NetworkExperiment]:
    """Return the three stages of every network, by which Tables 1 to 3 can be made without a GPU."""
    staged = {}
    for dataset, network in (*LARGE, *SMALLER):
        sound, small = dataset.startswith("gsc"), (dataset, network) in SMALLER
        epochs = STAGE_EPOCHS[("gsc" if sound else "cifar") + " small" * small]
        for activation, (stage, start) in STAGES.items():
            base = found[f"{dataset}-{network}-{activation}"]
            recipe = base.recipe if small else STAGED
            augmentations = FAST_SPEECH.augment if sound else recipe.augment
            recipe = dataclasses.replace(recipe, epochs=epochs[stage], augment=augmentations, **STAGE_RATES[stage])
            start = start and f"{dataset}-{network}-{start}-staged"
            summary = f"{base.summary}, in stages"
            staged[f"{dataset}-{network}-{activation}-staged"] = dataclasses.replace(
                base, recipe=recipe, start=start, summary=summary
            )
        if small:  # direct training for as many epochs as all three stages have
            base = found[f"{dataset}-{network}-atif-u"]
            recipe = dataclasses.replace(base.recipe, epochs=sum(epochs))
            summary = f"{base.summary}, {sum(epochs)} epochs"
            staged[f"{dataset}-{network}-atif-u-long"] = dataclasses.replace(base, recipe=recipe, summary=summary)
    return staged


LITERAL = {"surrogate": "absolute", "slope": 1.0}
SPIKINGJELLY = {"surrogate": "absolute", "slope": 4.0, "detach_reset": True}  # 4 is the default of its Sigmoid

Experiment = NeuronExperiment | NetworkExperiment | ExactExperiment | SpeedExperiment

EXPERIMENTS: dict[str, Experiment] = {
    "toy-staircase": ExactExperiment("Figs 1, 2, 4 and Eqs 6, 7, 11, 19: what the staircases imply", "staircase"),
    "toy-analysis": ExactExperiment("the best staircases of each family, by exact integrals", "analysis"),
    "limits-ladder": ExactExperiment("the best of each family of staircases, T = 1 ... 16", "ladder"),
    "limits-realisable": ExactExperiment("the best that T thresholds realise, T = 1 ... 8", "realisable"),
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
    **_network_experiments(),
}


def find(name: str) -> Experiment:
    """Look an experiment up; a ValueError for an unknown name has at most five near ones."""
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=5, cutoff=0.4)
        hint = f": did you mean {', '.join(near)}?" if near else "."
        raise ValueError(f"unknown experiment {name!r}{hint} The command `list` shows all {len(EXPERIMENTS)}")
    return EXPERIMENTS[name]
