"""95 % confidence intervals over seeds, on which every verdict rests: Student, Welch and Dunnett.

An interval is a pair (low, high). It is None where one value does not tell how far values spread.
"""

from collections.abc import Sequence
from functools import cache
from statistics import mean, stdev
from typing import Any

import numpy as np
import scipy  # its parts are imported where they are first used: `scipy.stats` takes half a second
from numpy.typing import ArrayLike

__all__ = ["CONFIDENCE", "dunnett", "dunnett_quantile", "student", "welch"]

CONFIDENCE = 0.95


def student(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval of a mean by Student's t with n - 1 degrees of freedom.

    Of differences between two experiments, seed by seed, it is the interval of the paired t test.

    Args:
        values: one for each seed, length n.
    """
    n = len(values)
    if n < 2:
        return None
    quantile = scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)  # what `scipy.stats.t.ppf` calls
    return _around(mean(values), quantile * stdev(values) / n**0.5)


def welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval of the difference of two means that share no seeds, by Welch's t.

    Args:
        ours: one value for each seed.
        theirs: the same of the experiment that is subtracted; the spread may be another.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    if stdev(ours) == stdev(theirs) == 0:
        return _around(mean(ours) - mean(theirs), 0.0)
    found = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(CONFIDENCE)
    return float(found.low), float(found.high)


def dunnett(changes: ArrayLike, base: ArrayLike) -> list[tuple[float, float]] | None:
    """Return the intervals of several changes less one base, all of which hold together in 95 % of cases.

    Seeds are blocks: networks of one seed see the same examples in the same order, so a value is taken to be the sum
    of an effect of the change, an effect of the seed, and noise of one variance. With k changes, the base and n seeds,
    what is left over when both effects are subtracted has k (n - 1) degrees of freedom. Dunnett's quantile replaces
    Student's, because all changes are compared with the same base.

    `scipy.stats.dunnett` knows no blocks. Given values less the mean of their seed it finds the right differences, but
    counts (k + 1) (n - 1) degrees of freedom, and its intervals come out too narrow.

    Args:
        changes: a row for each change, a column for each seed, shape [k, n].
        base: the values of the base for the same seeds, shape [n].

    Source: Dunnett (1955), for a randomised block design.
    """
    values = np.vstack([base, changes])
    k, n = len(values) - 1, values.shape[1]
    if n < 2:
        return None
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    freedom = k * (n - 1)
    half = dunnett_quantile(k, freedom) * np.sqrt(2 / n * (left**2).sum() / freedom)
    return [_around(float(difference), float(half)) for difference in (values[1:] - values[0]).mean(1)]


@cache
def dunnett_quantile(changes: int, freedom: int) -> float:
    """Return the number that all of k differences from one base, over their standard errors, stay within at 95 %.

    The k ratios follow a multivariate t distribution; two of them have a correlation of 1/2, as the base is in both.

    Args:
        changes: k, at least 1; for one it is Student's quantile.
        freedom: degrees of freedom of the variance.
    """
    correlation = (np.eye(changes) + 1) / 2

    def excess(bound: float) -> float:
        edge = np.full(changes, bound)
        options: dict[str, Any] = {"shape": correlation, "df": freedom, "lower_limit": -edge, "random_state": 0}
        return float(scipy.stats.multivariate_t.cdf(edge, **options)) - CONFIDENCE

    # Between one difference and as many independent ones (Bonferroni).
    low, high = (float(scipy.stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / m, freedom)) for m in (1, changes))
    if changes == 1:
        return low
    return scipy.optimize.root_scalar(excess, bracket=(low, high), method="brentq", xtol=1e-4).root


def _around(middle: float, half: float) -> tuple[float, float]:
    return float(middle - half), float(middle + half)
