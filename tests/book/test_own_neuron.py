"""Chapter 16: its neuron is what it says, its sentences on decibels hold, and its answers to exercises run."""

import ast
import copy
import re
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn
from torch.distributions import Normal
from torch.testing import assert_close

from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.networks import ACTIVATIONS, neurons_of, vgg_small
from atif_lib.neurons import ATIFu, SoftResetNode
from atif_lib.neurons.fitting import fit_neuron
from atif_lib.quantization.density import GAUSSIAN, sqnr
from atif_lib.quantization.families import affine_levels, ladder
from atif_lib.quantization.staircases import count_staircase
from atif_lib.results.manifest import Entry, Shared
from atif_lib.results.records import records_of
from atif_lib.training import Recipe
from atif_lib.training.execution import compile_neurons

SOURCE = (Path(__file__).parents[2] / "book" / "16_own_neuron.py").read_text(encoding="utf-8")
SNIPPETS = [
    textwrap.dedent(code)
    for code in re.findall(r" *```python\n(.*?)```", re.sub(r"^# ?", "", SOURCE, flags=re.MULTILINE), re.DOTALL)
]


def defined(name):
    """Return what the chapter defines by a name."""
    tree = ast.parse(SOURCE)
    tree.body = [node for node in tree.body if getattr(node, "name", "") == name]
    names = {
        "GAUSSIAN": GAUSSIAN,
        "SoftResetNode": SoftResetNode,
        "Tensor": torch.Tensor,
        "affine_levels": affine_levels,
        "count_staircase": count_staircase,
        "nn": nn,
        "pd": pd,
        "sqnr": sqnr,
        "torch": torch,
    }
    exec(compile(tree, "16_own_neuron.py", "exec"), names)
    return names[name]


Geometric, scan = defined("Geometric"), defined("scan")


def with_ratio(ratio, timesteps=4, **options):
    neuron = Geometric(timesteps, step_mode="m", **options)
    nn.init.constant_(neuron.log_ratio, torch.tensor(ratio).log().item())
    return neuron


@pytest.fixture(scope="module")
def found():
    return scan(4)


def row(table, column):
    return table.loc[table[column].idxmax()]


def uniform(table):
    return table.loc[(table.r - 1).abs().idxmin()]


def test_the_class_has_about_ten_lines():
    (made,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef)]
    assert made.end_lineno - made.lineno + 1 <= 12


@pytest.mark.parametrize("timesteps", [1, 4, 8])
@pytest.mark.parametrize("options", [{}, {"v0": 0.5}, {"charge": True}, {"detach_reset": True}])
def test_a_ratio_of_one_is_atif_u(timesteps, options):
    currents = torch.randn(timesteps, 1000, generator=torch.Generator().manual_seed(0))
    known = ATIFu(timesteps, threshold=0.8, step_mode="m", **options)
    neuron = Geometric(timesteps, threshold=0.8, step_mode="m", **options)
    spikes = [kind(currents) for kind in (known, neuron)]
    assert torch.equal(*spikes)
    for z in spikes:
        (z * currents.roll(1, 0)).sum().backward()
    assert_close(neuron.log_first.grad, known.log_threshold.grad)


@pytest.mark.parametrize("ratio", [0.6, 0.885, 1.0])
def test_the_first_transition_moves_with_the_ratio_and_the_last_does_not(ratio):
    transitions = count_staircase(with_ratio(ratio, threshold=2.0).double().thresholds.detach()).transitions
    assert_close(transitions[[0, 3]], torch.tensor([2 * ratio**3 / 4, 2.0], dtype=torch.float64), rtol=1e-5, atol=0)


def test_rising_thresholds_move_the_last_transition_outwards():
    assert count_staircase(with_ratio(1.25).double().thresholds.detach()).transitions[-1] > 1.4


def test_both_parameters_get_a_gradient():
    neuron = Geometric(step_mode="m")
    currents = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    neuron.decode(neuron(currents)).sub(currents.mean(0).relu()).square().mean().backward()
    assert all(p.grad.abs() > 1e-4 for p in neuron.parameters())


def test_the_fused_kernels_take_it_as_it_is(uncompiled):
    torch.manual_seed(0)
    plain = vgg_small(lambda channels, timesteps: with_ratio(0.9))
    networks, x = (plain, copy.deepcopy(plain)), torch.randn(4, 3, 32, 32)
    compile_neurons(networks[1])
    assert all(neuron.fused for neuron in neurons_of(networks[1]).values())
    found = [network(x) for network in networks]
    assert_close(*found)
    for logits in found:
        logits.square().sum().backward()
    gradients = [[neuron.log_ratio.grad for neuron in neurons_of(network).values()] for network in networks]
    assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_the_scan_begins_and_ends_at_what_is_known(found):
    rungs, known = ladder(GAUSSIAN, 4), uniform(found)
    assert known["own, dB"] == pytest.approx(rungs["uniform"].sqnr_db, abs=1e-3)
    assert known["affine, dB"] == pytest.approx(rungs["uniform, affine decode"].sqnr_db, abs=1e-3)
    assert found["own, dB"].max() < rungs["non-uniform, rate · p1"].sqnr_db - 0.5


def test_one_ratio_brings_almost_3_db_and_with_gain_and_offset_0_4(found):
    best, affine, known = row(found, "own, dB"), row(found, "affine, dB"), uniform(found)
    gain = best["own, dB"] - known["own, dB"]
    assert 2.9 < gain < 3
    assert 0.78 < gain / (ladder(GAUSSIAN, 4)["non-uniform, rate · p1"].sqnr_db - known["own, dB"]) < 0.85
    assert 0.5 ** (1 / 3) < best.r < affine.r < 1
    assert affine["affine, dB"] - known["affine, dB"] == pytest.approx(0.4, abs=0.05)


def test_it_meets_the_second_middle_only(found):
    best = torch.tensor(row(found, "own, dB").r, dtype=torch.float64)
    first, second, third, last = (4 * count_staircase(best ** torch.arange(4)).transitions).tolist()
    assert first > 0.6
    assert second == pytest.approx(1.5, abs=0.05)
    assert third < 2.4
    assert last == 4


def test_it_learns_the_best_ratio_but_for_a_tenth_of_a_decibel(found):
    neuron, best = Geometric(threshold=1.0, step_mode="m"), row(found, "own, dB")
    *_, learned = fit_neuron(neuron, Normal(0.0, 0.1), steps=1500, lr=0.01)
    assert neuron.log_ratio.exp().item() == pytest.approx(best.r, abs=0.01)
    assert 0.05 < best["own, dB"] - learned["sqnr_db"] < 0.15
    four = [record.result["sqnr_db"] for record in records_of("toy-atif-nu-long", "laptop")]
    assert len(four) == 5
    assert all(0.4 < value - learned["sqnr_db"] < 0.65 for value in four)


def test_exercises_two_timesteps_and_half_full():
    two = row(scan(2), "own, dB")
    assert two.r == pytest.approx(0.5)
    assert two["own, dB"] == pytest.approx(ladder(GAUSSIAN, 2)["non-uniform, rate · p1"].sqnr_db, abs=1e-3)
    assert row(scan(4, start=0.5), "own, dB").r == pytest.approx(1.0)


def test_exercise_a_law_of_your_own():
    (code,) = [code for code in SNIPPETS if "class Linear" in code]
    exec(code, names := {"SoftResetNode": SoftResetNode, "nn": nn, "torch": torch})
    neuron = names["Linear"](5, threshold=0.7)
    assert_close(neuron.thresholds, ATIFu(5, threshold=0.7).thresholds)
    nn.init.uniform_(neuron.log_ends, -9, 9)
    assert (neuron.thresholds > 0).all()


def test_exercise_where_the_ratio_ends(monkeypatch):
    (code,) = [code for code in SNIPPETS if "class Falling" in code]
    monkeypatch.delitem(ACTIVATIONS, "falling", raising=False)
    names = {"Geometric": Geometric, "ACTIVATIONS": ACTIVATIONS, "NetworkExperiment": NetworkExperiment}
    names |= {"best": pd.Series({"r": 0.885}), "experiments": {}, "recipe": Recipe(epochs=1)}
    exec(code, names)
    made = ACTIVATIONS.pop("falling")(16, 4)
    assert made.log_ratio.exp().item() == pytest.approx(0.885)
    assert names["experiments"]["digits-small-falling"].activation == "falling"


def test_its_test_passes():
    (code,) = [code for code in SNIPPETS if "def test_" in code]
    exec(code, names := {"ATIFu": ATIFu, "Geometric": Geometric, "torch": torch})
    names["test_a_ratio_of_one_is_atif_u"]()


def test_its_claim_may_stand_in_the_manifest():
    (code,) = re.findall(r"```yaml\n(.*?)```", re.sub(r"^# ?", "", SOURCE, flags=re.MULTILINE), re.DOTALL)
    (values,) = YAML(typ="safe", pure=True).load(textwrap.dedent(code))
    entry = Entry.model_validate(values, context=Shared(command="train {experiment} --profile {profile}"))
    assert entry.expected([]) == entry.verdict == "not run"
    assert entry.commands[1] == "train cifar10-small-atif-u --profile laptop"
