"""The numbers behind Figs 1, 2 and 4 are right where they can be worked out by hand, and see a wrong staircase."""

import math

import pytest
import torch

from atif_lib.experiments import facts


@pytest.fixture(scope="module")
def found():
    return facts.staircase_facts()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("levels", 9),
        ("slope_error", 0),
        ("saturation_error", 0),
        ("step_error", 0),
        ("bias_shift_error", 0),
        ("overload_growth", 1),
        ("eq7_printed_error", 8),  # an input of -1: no spike, and -8 as printed
        ("eq7_clipped_mismatches", 0),
        ("eq11_before_spike", -1),
        ("eq11_after_spike", -2),
        ("eq19_printed_error", 0.125),  # thresholds (1, 1.25, 1, 1) step up at 1.125 instead of 1
        ("eq19_telescoping_error", 0),
        ("fig4_transition_error", 0),
        ("fig4_step_ratio", 4),
    ],
)
def test_by_hand(found, name, value):
    assert found[name] == pytest.approx(value, abs=1e-9)


def test_bounds(found):
    assert 0.12 < found["granular_error"] <= 0.125
    assert 0 < found["rate_error_t1000"] < 0.001
    assert found["rate_error_t1000_half_threshold"] == pytest.approx(0.5, abs=0.001)
    assert 1 < found["soft_over_hard_reset_db"] < 3
    assert all(math.isfinite(value) for value in found.values())


def test_the_best_non_uniform_staircase_has_half_a_step_next_to_zero():
    # Its levels are k p_1 / 4, and all transitions but the last belong in the middle between two of them: the first is
    # at p_1 / 8, half of the mean step.
    assert facts.analysis_facts()["nonuniform_rate_p1_first_over_mean_step"] == pytest.approx(0.5, abs=1e-5)


def test_a_staircase_that_is_not_the_paper_s_is_seen(monkeypatch):
    def half_step(current, thresholds):
        timesteps = len(thresholds)
        return torch.floor(timesteps * current / thresholds[0] + 0.5).clamp(0, timesteps).long()

    monkeypatch.setattr(facts, "spike_counts", half_step)
    wrong = facts.figure_1_facts()
    assert wrong["saturation_error"] == pytest.approx(1.25 / 16, abs=2e-3)
    assert wrong["step_error"] == pytest.approx(0, abs=2e-3)
