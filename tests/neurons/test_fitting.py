"""One neuron learns the thresholds that exact integrals call the best, and the paper's literal set-up does not."""

from functools import partial

import pytest
import torch
from torch.distributions import Laplace, Normal

from atif_lib.experiments.one_neuron import Eq11
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu
from atif_lib.neurons.fitting import expected_sqnr_db, fit_neuron
from atif_lib.quantization.density import gaussian_sqnr_db
from atif_lib.quantization.uniform import uniform_staircase

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


def rest(kind, target="relu", **options):
    """Threshold in σ at which descent of the expected gradient from V_th = 10 σ comes to rest, and its SQNR."""
    grid = torch.logspace(-0.7, 1.2, 96)
    neuron = kind(4, grid * 0.1, step_mode="m", **options)
    i = SOURCE.icdf((torch.arange(3000, dtype=torch.float64) + 0.5) / 3000).float().unsqueeze(1).expand(-1, len(grid))
    x = i.relu() if target == "relu" else i
    loss = (x - neuron.decode(neuron(i.expand(4, *i.shape)))).square().mean(0).sum()
    slope = torch.autograd.grad(loss, neuron.log_threshold)[0]
    here = torch.nonzero((slope[:-1] < 0) & (slope[1:] >= 0)).max()
    weight = slope[here + 1] / (slope[here + 1] - slope[here])
    found = (grid[here] ** weight * grid[here + 1] ** (1 - weight)).double()
    return found.item(), gaussian_sqnr_db(*uniform_staircase(found, 4, options.get("v0", 0.0))).item()


ABSOLUTE = {"surrogate": "absolute"}


@pytest.mark.parametrize(
    ("kind", "options", "threshold", "db"),
    [
        (Eq11, ABSOLUTE | {"slope": 1.0, "target": "input"}, 7.47, 1.59),  # Eqs 9-13 to the letter
        (Eq11, ABSOLUTE | {"slope": 1.0}, 3.70, 6.35),
        (ATIFu, ABSOLUTE | {"slope": 1.0}, 3.77, 6.21),
        (ATIFu, ABSOLUTE | {"slope": 4.0, "detach_reset": True}, 2.12, 10.49),
        (ATIFu, ABSOLUTE | {"slope": 40.0}, 1.74, 11.09),  # relative slope 7 at the optimum
        (ATIFu, {"slope": 1.0}, 2.97, 8.05),
        (ATIFu, {"slope": 4.0}, 1.78, 11.08),
        (ATIFu, {"slope": 16.0}, 1.70, 11.09),
        (ATIFu, ABSOLUTE | {"slope": 1.0, "v0": 0.5}, 2.09, 15.12),  # flat, but no longer one-sided
        (ATIFu, {"slope": 8.0, "v0": 0.5}, 2.15, 15.13),
    ],
)
def test_the_width_of_the_surrogate_decides_where_learning_ends(kind, options, threshold, db):
    found, reached = rest(kind, **options)
    assert found == pytest.approx(threshold, rel=0.02)
    assert reached == pytest.approx(db, abs=0.06)


@pytest.mark.parametrize("options", [{"slope": 40.0}, {"slope": 64.0}, {"slope": 40.0, "v0": 0.5}])
def test_too_sharp_a_surrogate_ends_far_out(options):
    assert rest(ATIFu, **options)[0] > 3


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_the_gradient_of_eq_11_counts_no_earlier_spike(steps):
    """After any spikes dq/dV_th = -1: the gradient is that of one surrogate for each timestep, times -1."""
    neuron = Eq11(4, 1.0, surrogate="absolute", slope=1.0, step_mode="m")
    current = torch.full((4, 1), 0.6)
    neuron(current)[steps - 1].sum().backward()
    membranes = [0.6, 1.2, 0.8, 1.4]  # H(t), with spikes at t = 2 and 4
    q = torch.tensor(membranes[steps - 1] - 1.0)
    assert neuron.log_threshold.grad.item() == pytest.approx(-(q.sigmoid() * (1 - q.sigmoid())).item(), abs=1e-6)


def test_the_expected_gradient_is_the_pathwise_one_and_the_boundaries():
    """Sample by sample the derivative has no place for transitions that move; with them it is the exact one."""
    k = torch.arange(1, 5, dtype=torch.float64)
    for value in (10.0, 2.5, 1.0):
        v = torch.tensor(value, dtype=torch.float64, requires_grad=True)

        def noise(transitions, levels):
            return 0.5 * 10 ** (-gaussian_sqnr_db(transitions, levels) / 10)

        exact = torch.autograd.grad(noise(k * v / 4, k * v / 4), v)[0]
        pathwise = torch.autograd.grad(noise(k * v.detach() / 4, k * v / 4), v)[0]
        density = torch.exp(Normal(0.0, 1.0).log_prob(k * value / 4))
        assert (pathwise + (density * k / 4).sum() * (value / 4) ** 2).item() == pytest.approx(exact.item(), abs=1e-12)
        assert pathwise < 0


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
    with pytest.raises(ValueError, match="target='x'; allowed: 'relu', 'input'"):
        next(fit_neuron(IF(step_mode="m"), SOURCE, target="x"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps=-1; allowed: an integer, 0 or more"),
        ({"batch_size": 0}, "batch_size=0; allowed: an integer, 1 or more"),
        ({"log_every": 0}, "log_every=0; allowed: an integer, 1 or more"),
    ],
)
def test_counts_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        next(fit_neuron(ATIFu(step_mode="m"), Normal(0, 1), **options))


def test_a_neuron_that_takes_one_timestep_a_call_is_refused():
    """Its T timesteps would pass for one, and the decibels would be wrong without a word."""
    with pytest.raises(ValueError, match="neuron with step_mode='s'; allowed: 'm'"):
        expected_sqnr_db(ATIFu(4), Normal(0, 1))
