"""The intervals are those of SciPy's tests where SciPy has one, and of Dunnett's printed table where it has none."""

import numpy as np
import pytest
from scipy import stats

from atif_lib.results.intervals import dunnett, dunnett_quantile, student, welch

OURS, THEIRS = [58.4, 59.9, 57.1, 58.0], [57.2, 59.1, 57.0, 56.1]


def test_student_by_hand():
    # Mean 2, standard deviation 1, standard error 1 / sqrt(3); the quantile of two degrees of freedom is 4.3027.
    assert student([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert student([1.0]) is None
    assert student([5.0, 5.0, 5.0]) == (5.0, 5.0)


def test_student_of_differences_is_the_paired_test():
    found = student([a - b for a, b in zip(OURS, THEIRS, strict=True)])
    assert found == pytest.approx(tuple(stats.ttest_rel(OURS, THEIRS).confidence_interval(0.95)))


def test_welch_is_the_unpaired_test_of_unequal_variances():
    found = welch(OURS, THEIRS[:3])
    assert found == pytest.approx(tuple(stats.ttest_ind(OURS, THEIRS[:3], equal_var=False).confidence_interval(0.95)))
    assert welch(OURS, [57.0]) is None
    assert welch([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "freedom", "printed"), [(1, 10, 2.23), (2, 10, 2.57), (3, 20, 2.54), (5, 10, 2.99), (9, 20, 2.95)]
)
def test_the_quantile_is_that_of_dunnett_s_table(changes, freedom, printed):
    assert dunnett_quantile(changes, freedom) == pytest.approx(printed, abs=0.015)


def test_the_quantile_is_that_of_scipy_s_dunnett():
    groups = np.random.default_rng(0).normal(size=(6, 4))
    found = stats.dunnett(*groups[1:], control=groups[0], random_state=0)
    interval = found.confidence_interval(0.95)
    error = (groups.var(1, ddof=1).mean() * 2 / 4) ** 0.5
    half = (interval.high - interval.low)[0] / 2
    assert dunnett_quantile(5, 6 * 3) == pytest.approx(half / error, abs=0.01)


def test_dunnett_by_hand():
    base, changes = [1.0, 2.0, 6.0], [[2.0, 4.0, 6.0], [0.0, 3.0, 6.0]]
    # Seeds have the means 1, 3, 6; base and changes 3, 4, 3; all together 10/3. What is left: base 1/3, -2/3, 1/3;
    # first change 1/3, 1/3, -2/3; second -2/3, 1/3, 1/3. The squares sum up to 2, with 2 * 2 degrees of freedom, so the
    # variance is 1/2.
    half = dunnett_quantile(2, 4) * (2 / 3 * 1 / 2) ** 0.5
    assert dunnett(changes, base) == [pytest.approx((1 - half, 1 + half)), pytest.approx((-half, half))]


def test_dunnett_does_not_feel_which_seeds_are_easy_and_reduces_to_the_paired_test_for_one_change():
    shifts = np.array([0.0, 10.0, -3.0, 4.0])
    first = dunnett([OURS], THEIRS)
    assert dunnett([OURS + shifts], THEIRS + shifts) == [pytest.approx(first[0])]
    assert first[0] == pytest.approx(student([a - b for a, b in zip(OURS, THEIRS, strict=True)]))
    assert dunnett([[1.0], [2.0]], [0.0]) is None
