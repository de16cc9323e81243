"""One neuron learns the thresholds that exact integrals call the best, and the paper's literal set-up does not."""

from functools import partial

import pytest
import torch
from torch.distributions import Laplace, Normal

from atif_lib.fitting import expected_sqnr_db, fit_neuron
from atif_lib.neurons import IF, ATIFnu, ATIFu
from atif_lib.quantization import gaussian_sqnr_db, uniform_staircase

SOURCE = Normal(0.0, 0.1)
QUICK = {"steps": 400, "lr": 0.02, "log_every": 400}  # the paper's rate is 1e-3, and 5,000 steps


def end(neuron, **options):
    *_, last = fit_neuron(neuron, SOURCE, **QUICK | options)
    return last


@pytest.mark.parametrize(
    ("neuron", "low", "high"),
    [
        (partial(ATIFu), 10.9, 11.10),  # the optimum is 11.09 dB at V_th = 1.73 σ
        (partial(ATIFu, v0=0.5, slope=8.0), 15.0, 15.14),  # 15.13
        (partial(ATIFnu), 13.5, 14.64),  # 14.63
        (partial(ATIFnu, form="printed"), 13.5, 14.64),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_learned_thresholds_come_near_the_optimum(neuron, low, high, seed):
    assert low < end(neuron(step_mode="m"), seed=seed)["sqnr_db"] < high


@pytest.mark.parametrize(("target", "low", "high"), [("input", 1.0, 1.7), ("relu", 5.5, 7.0)])
def test_the_literal_set_up_ends_low(target, low, high):
    neuron = ATIFu(surrogate="absolute", slope=1.0, step_mode="m")
    assert low < end(neuron, target=target)["sqnr_db"] < high


def test_learning_does_not_depend_on_the_scale():
    for sigma in (0.01, 1.0):
        neuron = ATIFu(threshold=10 * sigma, step_mode="m")
        *_, last = fit_neuron(neuron, Normal(0.0, sigma), **QUICK)
        assert last["thresholds"][0] / sigma == pytest.approx(1.73, abs=0.1)


@pytest.mark.parametrize("threshold", [0.05, 0.173, 1.0])
@pytest.mark.parametrize(("timesteps", "v0"), [(1, 0.0), (4, 0.0), (4, 0.5), (20, 0.0)])
def test_expected_sqnr_is_that_of_exact_integrals(threshold, timesteps, v0):
    exact = gaussian_sqnr_db(*uniform_staircase(torch.tensor(threshold).double(), timesteps, v0), sigma=0.1)
    found = expected_sqnr_db(IF(timesteps, threshold, v0=v0, step_mode="m"), SOURCE)
    assert found == pytest.approx(exact.item(), abs=0.01)


def test_expected_sqnr_of_the_paper_s_starting_points():
    assert expected_sqnr_db(IF(step_mode="m"), SOURCE) == pytest.approx(0.45, abs=5e-3)
    assert expected_sqnr_db(IF(20, step_mode="m"), SOURCE) == pytest.approx(11.25, abs=5e-3)


def test_reports_begin_before_learning_and_end_behind_the_last_step():
    neuron = ATIFu(step_mode="m")
    reports = list(fit_neuron(neuron, Laplace(0.0, 0.1), steps=25, log_every=10))
    assert [r["step"] for r in reports] == [0, 10, 20, 25]
    assert reports[0]["thresholds"] == [1.0] * 4
    assert reports[-1]["thresholds"] == neuron.thresholds.tolist() != reports[-2]["thresholds"]
    assert reports[-1]["sqnr_db"] == expected_sqnr_db(neuron, Laplace(0.0, 0.1))


def test_draws_follow_the_seed():
    ends = [end(ATIFu(step_mode="m"), steps=20, seed=seed)["thresholds"] for seed in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]


def test_a_fixed_threshold_stays():
    reports = list(fit_neuron(IF(step_mode="m"), SOURCE, steps=3, log_every=1))
    assert {tuple(r["thresholds"]) for r in reports} == {(1.0,) * 4}


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="target must be 'relu' or 'input', got 'x'"):
        next(fit_neuron(IF(step_mode="m"), SOURCE, target="x"))
