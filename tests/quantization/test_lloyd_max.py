"""Lloyd-Max quantizers are Max's, the ladder is the facts table's, and measured currents get the global optimum."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from atif_lib.quantization.density import GAUSSIAN, LAPLACE, Density, empirical, maximise_sqnr, sqnr
from atif_lib.quantization.families import ladder
from atif_lib.quantization.lloyd_max import lloyd_max, lloyd_max_free, lloyd_max_samples
from atif_lib.quantization.uniform import uniform_staircase

PDFS = {"gaussian": (GAUSSIAN, stats.norm().pdf), "laplace": (LAPLACE, stats.laplace(scale=0.5**0.5).pdf)}


@pytest.mark.parametrize("name", PDFS)
@pytest.mark.parametrize("x", [0.0, 0.3, 1.7, 5.0, math.inf])
def test_moments_equal_quadrature(name, x):
    density, pdf = PDFS[name]
    expected = [integrate.quad(lambda u, j=j: u**j * pdf(u), 0, x)[0] for j in range(3)]
    assert density.moments(torch.tensor([x], dtype=torch.float64))[:, 0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("levels", "distortion"), [(2, 0.3634), (3, 0.1902), (4, 0.1175), (5, 0.07994), (8, 0.03454), (9, 0.02785)]
)
def test_the_table_of_max_1960(levels, distortion):
    best = lloyd_max(GAUSSIAN, levels // 2, zero=levels % 2 == 1)
    assert 10 ** (-best.sqnr_db / 10) == pytest.approx(distortion, rel=5e-4)
    if levels in (4, 8):
        assert best.sqnr_db == pytest.approx({4: 9.30, 8: 14.62}[levels], abs=0.005)


@pytest.mark.parametrize("density", [GAUSSIAN, LAPLACE])
@pytest.mark.parametrize("timesteps", [1, 2, 5, 16])
def test_conditions_of_lloyd_and_max(density, timesteps):
    best = lloyd_max(density, timesteps)
    mass, first, _ = density.moments(torch.cat([best.transitions, torch.tensor([math.inf])])).diff()
    assert best.levels.tolist() == pytest.approx((first / mass).tolist(), rel=1e-8)
    middles = (best.levels + torch.cat([torch.zeros(1), best.levels[:-1]])) / 2
    assert best.transitions.tolist() == pytest.approx(middles.tolist(), rel=1e-8)


@pytest.mark.parametrize(
    ("timesteps", "uniform", "half", "limit"),
    [
        (1, 4.69, 7.21, 7.21),
        (2, 7.50, 10.85, 10.97),
        (3, 9.52, 13.29, 13.57),
        (4, 11.09, 15.13, 15.55),
        (8, 15.30, 19.83, 20.72),
    ],
)
def test_ladder_of_the_facts_table(timesteps, uniform, half, limit):
    rungs = ladder(GAUSSIAN, timesteps)
    assert rungs["uniform"].sqnr_db == pytest.approx(uniform, abs=0.006)
    assert rungs["uniform, half-step start"].sqnr_db == pytest.approx(half, abs=0.006)
    assert lloyd_max(GAUSSIAN, timesteps).sqnr_db == pytest.approx(limit, abs=0.006)
    if timesteps == 4:
        assert rungs["uniform, decode gain"].sqnr_db == pytest.approx(13.63, abs=0.006)
        assert rungs["non-uniform, rate · p1"].sqnr_db == pytest.approx(14.63, abs=0.006)
        assert (rungs["non-uniform, rate · p1"].transitions / 10).tolist() == pytest.approx(
            [0.0270, 0.0812, 0.1353, 0.2165], abs=2e-4
        )
        assert lloyd_max(GAUSSIAN, 4).levels.tolist() == pytest.approx([0.444, 0.919, 1.476, 2.255], abs=6e-4)


def test_rungs_agree_with_the_searches_of_quantization():
    k = torch.arange(1, 5, dtype=torch.float64)
    rungs = ladder(GAUSSIAN, 4)
    half = maximise_sqnr(lambda w: uniform_staircase(w[0].exp(), 4, 0.5), [0.0])
    tied = maximise_sqnr(lambda w: (w.exp().cumsum(0), k / 4 * w.exp().cumsum(0)[-1]), [-1.0] * 4)
    assert rungs["uniform, half-step start"].sqnr_db == pytest.approx(half.sqnr_db, abs=1e-7)
    assert rungs["non-uniform, rate · p1"].sqnr_db == pytest.approx(tied.sqnr_db, abs=1e-6)


@settings(max_examples=20)
@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.lists(st.floats(0, 3), min_size=5, max_size=5))
def test_sqnr_equals_quadrature(gaps, levels):
    edges, levels = np.cumsum(gaps), np.array([0.0, *levels[: len(gaps)]])
    noise = sum(
        integrate.quad(lambda x, level=level: (x - level) ** 2 * stats.norm.pdf(x), low, high)[0]
        for low, high, level in zip([0, *edges], [*edges, 15], levels, strict=True)
    )
    found = sqnr(GAUSSIAN, torch.tensor(edges), torch.tensor(levels))
    assert found.item() == pytest.approx(10 * math.log10(0.5 / noise), abs=1e-6)


@pytest.mark.parametrize(
    ("timesteps", "free", "empty", "half"),
    [(1, 7.59, 7.59, 7.59), (2, 11.14, 10.47, 10.99), (4, 15.61, 14.09, 15.17), (8, 20.74, 18.31, 19.84)],
)
def test_levels_that_are_free_at_zero_too(timesteps, free, empty, half):
    """What a next layer's weights and bias add: then the half step is worth 1.08 dB at T = 4, not 4.04."""
    best, rungs = lloyd_max_free(GAUSSIAN, timesteps), ladder(GAUSSIAN, timesteps)
    assert best.sqnr_db == pytest.approx(free, abs=0.006)
    assert rungs["uniform, affine decode"].sqnr_db == pytest.approx(empty, abs=0.006)
    assert rungs["half-step start, affine decode"].sqnr_db == pytest.approx(half, abs=0.006)
    assert lloyd_max(GAUSSIAN, timesteps).sqnr_db < best.sqnr_db
    for name in ("uniform, affine decode", "half-step start, affine decode"):
        assert rungs[name].sqnr_db <= best.sqnr_db + 1e-9


@pytest.mark.parametrize("timesteps", [1, 2, 4])
def test_no_staircase_with_free_levels_is_better(timesteps):
    """A global search over transitions, each cell answered by its mean, with integrals by quantiles."""
    i = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    first, second = np.cumsum(np.append(0, i.clip(0))), np.cumsum(np.append(0, i.clip(0) ** 2))

    def noise(transitions):
        ends = np.concatenate([[0], np.searchsorted(i, np.sort(transitions)), [len(i)]])
        return (second[-1] - (np.diff(first[ends]) ** 2 / np.maximum(np.diff(ends), 1)).sum()) / len(i)

    found = optimize.differential_evolution(noise, [(0.0, 3.5)] * timesteps, rng=0, popsize=20, tol=1e-10, polish=False)
    assert 10 * math.log10(0.5 / found.fun) == pytest.approx(lloyd_max_free(GAUSSIAN, timesteps).sqnr_db, abs=2e-3)


def test_an_affine_decode_is_the_regression_of_the_signal_on_the_count():
    i = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    best = ladder(GAUSSIAN, 4)["uniform, affine decode"]
    x, count = i.clip(0), np.searchsorted(best.transitions.numpy(), i, side="right")
    slope, offset = np.polyfit(count, x, 1)
    assert best.levels.tolist() == pytest.approx((offset + slope * np.arange(5)).tolist(), abs=1e-4)
    assert 10 * math.log10((x**2).mean() / ((x - best.levels.numpy()[count]) ** 2).mean()) == pytest.approx(
        best.sqnr_db, abs=1e-3
    )


def moments_of_infinite_mean(x):
    """Integrate the density 1 / (1 + x)^2: no level is the mean of the last cell."""
    mass = 1 - 1 / (1 + x)
    return torch.stack([mass, torch.log1p(x) - mass, x - 2 * torch.log1p(x) + mass])


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("solve", [lloyd_max, lloyd_max_free])
@pytest.mark.parametrize(
    "density",
    [
        Density(moments_of_infinite_mean, 1.0),
        Density(GAUSSIAN.moments, 1e-3),  # so far from where the density lies that the search is lost
        Density(lambda x: math.nan * GAUSSIAN.moments(x), 1.0),
    ],
    ids=["infinite mean", "wrong scale", "no number"],
)
def test_a_search_that_ends_at_no_solution_says_so(solve, density):
    with pytest.raises(RuntimeError, match="no quantizer found for T = 4: "):
        solve(density, 4)


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 40), min_size=4, max_size=9, unique=True), st.integers(1, 3))
def test_samples_get_the_best_of_all_partitions(values, timesteps):
    positive = sorted(v for v in values if v > 0)
    if len(positive) < timesteps:
        return
    noise = math.inf
    for cuts in combinations(range(len(positive)), timesteps):
        cells = [positive[a:b] for a, b in zip(cuts, (*cuts[1:], len(positive)), strict=True)]
        cost = sum(v**2 for v in positive[: cuts[0]]) + sum(len(c) * np.var(c) for c in cells)
        noise = min(noise, cost)
    found = lloyd_max_samples(np.array(values, dtype=float), timesteps)
    power = sum(v**2 for v in positive)
    assert power / 10 ** (found.sqnr_db / 10) == pytest.approx(noise, abs=1e-6)


def test_many_samples_of_a_gaussian_approach_its_quantizer():
    quantiles = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    found, exact = lloyd_max_samples(quantiles, 4), lloyd_max(GAUSSIAN, 4)
    assert found.sqnr_db == pytest.approx(exact.sqnr_db, abs=0.03)  # no sample lies in the far tail
    assert found.levels.tolist() == pytest.approx(exact.levels.tolist(), abs=0.01)
    assert ladder(empirical(quantiles), 4)["uniform"].sqnr_db == pytest.approx(11.09, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: empirical([-1.0, -2.0]),
            "samples with 0 positive of 2; allowed: finite numbers, some positive",
        ),
        (lambda: empirical([1.0, math.nan]), "samples with 1 positive of 2"),
        (lambda: lloyd_max_samples([1.0, 2.0], 3), "with 2 distinct positive values; allowed: 3 to 5000"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
