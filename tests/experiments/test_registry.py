"""Every experiment has a name, a network that takes its data, and a recipe whose words mean something."""

import copy
import dataclasses

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn
from torch.nn.functional import interpolate

from atif_lib import data
from atif_lib.experiments import networks as experiments
from atif_lib.experiments.contract import Context
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.experiments.one_neuron import ExactExperiment, NeuronExperiment
from atif_lib.experiments.registry import EXPERIMENTS, find
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import NETWORKS
from atif_lib.results import manifest, records
from atif_lib.results.records import PROFILES, Draft
from atif_lib.training import augment

TRAINED = {name: e for name, e in EXPERIMENTS.items() if isinstance(e, NetworkExperiment)}
SHAPES = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "gsc": (1, 49, 10), "gsc13": (1, 49, 10)}


def random_examples(dataset, count=4):
    inputs, labels = torch.randint(256, (count, *SHAPES[dataset]), dtype=torch.uint8), torch.arange(count)
    inputs = inputs if dataset.startswith("cifar") else inputs.half()
    return data.Examples(inputs, labels, inputs, labels, data.DATASETS[dataset].classes, dataset, "random", "0" * 64)


def test_every_experiment_of_the_manifest_exists_at_its_profile():
    for quantity in (quantity for entry in manifest.load().all() for quantity in entry.quantities):
        assert quantity.profile in find(quantity.experiment).profiles, quantity


@pytest.mark.parametrize("dataset", SHAPES)
def test_every_network_of_a_data_set_is_built_for_it_and_answers_at_smoke(dataset, monkeypatch):
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda weight, **options: weight.data.zero_())  # random takes long
    examples = random_examples(dataset)
    seen = {}
    for name, experiment in TRAINED.items():
        small = experiment.at("smoke")
        if small.dataset != dataset or small.network in seen:
            continue  # activations are tested with the networks
        network = small.build(examples).eval()
        with torch.no_grad():
            logits = network(data.normalizer(examples)(examples.test_inputs[:1]))
        assert logits.shape == (1, len(examples.classes)), name
        seen[small.network] = network.timesteps
    assert set(seen) == {e.network for e in TRAINED.values() if e.dataset == dataset}
    assert set(seen.values()) <= {1, 4}


@pytest.mark.parametrize("name", TRAINED)
def test_recipes_name_what_there_is(name):
    experiment = TRAINED[name]
    recipe, small = experiment.recipe, experiment.at("smoke").recipe
    assert experiment.network in NETWORKS
    examples = random_examples(experiment.dataset)
    changed = augment.compose(recipe.augment)(examples.train_inputs, torch.Generator().manual_seed(0))
    augment.mix(recipe.mix, changed, examples.train_labels, torch.Generator().manual_seed(0))
    assert set(experiment.profiles) <= set(PROFILES)
    assert (small.epochs, small.compile, small.precision) == (1, False, "32-true")
    assert experiment.at("smoke").limit == 8 * small.batch_size
    assert experiment.at(experiment.size) == experiment
    assert name.split("-")[0] == experiment.dataset
    assert experiment.dataset in experiment.summary.lower().replace("-", "") or "Speech" in experiment.summary
    if experiment.dataset.startswith("gsc"):
        assert not {"flip", "resize", "crop"} & set(recipe.augment), "a spectrogram is not an image"


@pytest.mark.parametrize("name", [name for name, e in TRAINED.items() if e.recipe.scales != (1.0,)])
def test_a_network_takes_the_smallest_images_of_its_recipe(name):
    experiment = TRAINED[name]
    assert not experiment.start, "its norms and thresholds would be set for small images"
    network = experiment.build(examples := random_examples(experiment.dataset)).eval()
    with torch.no_grad():
        small = interpolate(examples.test_inputs[:1].float(), scale_factor=min(experiment.recipe.scales))
        assert network(small).shape == (1, len(examples.classes))


def test_the_paper_s_protocol_is_the_paper_s():
    """Section 4.1."""
    recipe = EXPERIMENTS["cifar10-resnet18-atif-nu-paper"].recipe
    assert (recipe.epochs, recipe.lr, recipe.step_factor, recipe.step_epochs) == (900, 0.08, 0.9, 30)
    assert (recipe.schedule, recipe.warmup, recipe.mix) == ("step", 0.0, "mixup")
    sound = EXPERIMENTS["gsc-resnet18-atif-nu-paper"].recipe
    assert (sound.epochs, sound.lr, sound.step_factor, sound.step_epochs) == (80, 1e-3, 0.1, 20)
    for name, experiment in TRAINED.items():
        assert name.endswith("-paper") == (experiment.recipe.schedule == "step")


@pytest.mark.parametrize(
    ("name", "near"),
    [("cifar10-resnet18-atifnu", "cifar10-resnet18-atif-nu"), ("toy-atif", "toy-atif-u"), ("cifar10", "cifar10-")],
)
def test_an_unknown_name_lists_at_most_five_near_ones(name, near):
    with pytest.raises(
        ValueError, match=rf"unknown experiment '{name}': did you mean .*{near}.*\? The command `list`"
    ) as e:
        find(name)
    assert str(e.value).count(",") < 5


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(
        ValueError, match=rf"^unknown experiment '%'\. The command `list` shows all {len(EXPERIMENTS)}$"
    ):
        find("%")


def test_every_cell_of_a_table_row_differs_in_what_its_name_says():
    fields = ("dataset", "network", "activation", "recipe", "data_start", "scale_start", "timesteps")
    # The first stage of a small network may be the ReLU network itself; one that is trained again is the same.
    kept = [e for name, e in TRAINED.items() if not name.endswith(("-relu-staged", "-again"))]
    seen = [tuple(str(getattr(e, field)) for field in fields) for e in kept]
    assert len(set(seen)) == len(seen)


def test_without_its_data_only_the_small_profile_takes_a_stand_in(digits):
    experiment = EXPERIMENTS["cifar100-resnet18-relu"]
    with pytest.raises(data.DataUnavailable, match=r"cifar100: .*to fetch it, run: "):
        experiment.examples()
    examples = experiment.at("smoke").examples()
    assert (examples.name, examples.source) == ("digits", "scikit-learn")
    assert (len(examples.train_labels), len(examples.test_labels)) == (64, 64)
    assert set(SHAPES) == set(experiments.STAND_INS) == {e.dataset for e in TRAINED.values()}


@pytest.mark.parametrize("name", [n for n, e in EXPERIMENTS.items() if isinstance(e, NeuronExperiment)])
def test_toys_start_at_a_threshold_of_ten_standard_deviations(name):
    draft = Draft()
    dataclasses.replace(EXPERIMENTS[name].at("smoke"), steps=0).run(Context(draft))
    assert draft.result["thresholds"][0] == pytest.approx(1.0)
    assert draft.result["gain_db"] == pytest.approx(0, abs=0.1) or "half" in name or "nu" in name
    assert draft.result["threshold_over_sigma"] == pytest.approx(10)
    assert ("p" in draft.result) == ("nu" in name)


def test_learning_a_toy_fills_the_record():
    draft = Draft()
    EXPERIMENTS["toy-atif-u"].at("smoke").run(Context(draft))
    assert [e["step"] for e in draft.epochs] == [0, 100, 200]
    assert draft.result["sqnr_db"] == draft.epochs[-1]["sqnr_db"] > draft.epochs[0]["sqnr_db"]
    assert draft.result["gain_db"] == pytest.approx(draft.result["sqnr_db"] - draft.epochs[0]["sqnr_db"])


def test_a_line_of_activations_trains_any_spikingjelly_node(digits, monkeypatch, tmp_path):
    node = neuron.LIFNode(detach_reset=True, step_mode="m")
    monkeypatch.setitem(ACTIVATIONS, "mine", lambda channels, timesteps: copy.deepcopy(node))
    draft = Draft()
    whole = dataclasses.replace(EXPERIMENTS["cifar10-small-if"], dataset="digits", activation="mine")
    experiment = whole.at("smoke")
    experiment.run(Context(draft, folder=tmp_path))
    assert 0 < draft.result["theta"] < 1
    assert draft.result["thresholds"] == {}
    assert (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize("name", ["toy-staircase", "gsc-features"])
def test_exact_numbers_come_out_as_they_are_recorded(name):
    draft = Draft()
    EXPERIMENTS[name].run(Context(draft))
    (committed,) = records.records_of(name, "laptop", folder=records.RESULTS)
    assert draft.result.keys() == committed.result.keys()
    for key, value in committed.result.items():
        assert draft.result[key] == pytest.approx(value), key


def test_exact_experiments_have_one_profile():
    exact = [e for e in EXPERIMENTS.values() if isinstance(e, ExactExperiment)]
    assert exact
    assert all(e.profiles == ("laptop",) and e.at("laptop") is e for e in exact)


@pytest.mark.parametrize("field", ["activation", "network"])
def test_an_experiment_of_what_is_not_registered_is_told(field, monkeypatch):
    made = dataclasses.replace(EXPERIMENTS["cifar10-small-if"], **{field: "mine"})
    monkeypatch.setitem(EXPERIMENTS, "cifar10-small-mine", made)
    with pytest.raises(ValueError, match=rf"{field} of cifar10-small-mine='mine'; allowed: "):
        find("cifar10-small-mine")


def test_a_stand_in_is_told_of(digits, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ATIF_DATA", str(tmp_path))
    EXPERIMENTS["cifar10-small-if"].at("smoke").run(Context(Draft()))
    assert "cifar10 is not here: this smoke run takes digits in its place" in capsys.readouterr().err
