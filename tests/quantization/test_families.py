"""The ladder of measured currents keeps its order, and the best step is found wherever it lies."""

import math

import numpy as np
import pytest
import torch

from atif_lib.quantization.density import GAUSSIAN, Density, empirical, sqnr
from atif_lib.quantization.families import affine_levels, best_uniform, ladder

RNG = np.random.default_rng(0)
SAMPLES = {
    "gaussian": RNG.normal(size=10_000),
    "few of a gaussian": RNG.normal(size=20),
    "uniform": RNG.uniform(size=10_000),
    "uniform about 0": RNG.uniform(-1, 1, size=1000),
    "clipped gaussian": RNG.normal(size=10_000).clip(-1, 1),
    "rectified gaussian": RNG.normal(size=1000).clip(0),
    "far from 0": RNG.uniform(1, 2, size=100),
    "log-normal": RNG.lognormal(sigma=2, size=300),
    "one outlier": np.append(np.full(10_000, 0.01), 100.0),
}


def lognormal(sigma):
    """Make the density of exp(sigma n), n standard normal; its moments have a closed form."""

    def moments(x):
        j = torch.arange(3, dtype=torch.float64).view(3, *[1] * x.dim())
        return torch.exp((j * sigma) ** 2 / 2) * torch.special.ndtr(x.log() / sigma - j * sigma)

    return Density(moments, math.exp(sigma**2))


@pytest.mark.parametrize("timesteps", [1, 2, 3, 4])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_decode_that_contains_another_is_no_worse(name, timesteps):
    """A gain of 1 and an offset of 0 are allowed. A step above all samples has no best gain, and was taken for it."""
    rungs = {rung: best.sqnr_db for rung, best in ladder(empirical(SAMPLES[name]), timesteps).items()}
    assert not any(map(math.isnan, rungs.values()))
    assert rungs["uniform, decode gain"] >= rungs["uniform"] - 1e-6
    assert rungs["uniform, affine decode"] >= rungs["uniform, decode gain"] - 1e-6
    assert rungs["half-step start, affine decode"] >= rungs["uniform, half-step start"] - 1e-6


@pytest.mark.parametrize("density", [GAUSSIAN, empirical([-1.0, 1.0, 2.0])])
def test_a_count_that_is_always_0_is_decoded_as_the_mean(density):
    transitions = torch.tensor([[50.0, 60.0], [1.0, 2.0]], dtype=torch.float64)
    levels = affine_levels(density, transitions)
    mean = density.moments(torch.tensor([math.inf]))[1].item()
    assert levels[0].tolist() == pytest.approx([mean] * 3)
    assert (levels[1].diff() > 0).all()


def test_a_count_that_is_always_t_is_decoded_as_the_mean():
    levels = affine_levels(empirical([1.0, 2.0]), torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert levels.tolist() == pytest.approx([1.5] * 3)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("timesteps", [1, 4, 8])
def test_the_best_step_of_a_heavy_tail(sigma, timesteps):
    """For sigma = 2 and T = 4 the best threshold is 48 times the root mean square, for sigma = 3 thousands of times."""
    density, k = lognormal(sigma), torch.arange(1, timesteps + 1, dtype=torch.float64)
    levels = density.scale * torch.logspace(-3, 5, 20_001, dtype=torch.float64).unsqueeze(1) * k
    best = best_uniform(density, timesteps)
    assert best.sqnr_db == pytest.approx(sqnr(density, levels, levels).max().item(), abs=1e-5)
    if (sigma, timesteps) == (2.0, 4):
        assert best.levels[-1].item() / density.scale == pytest.approx(47.66, abs=0.01)


@pytest.mark.parametrize("timesteps", [1, 2, 4])
def test_the_best_step_for_one_outlier_has_a_level_there(timesteps):
    best = best_uniform(empirical(SAMPLES["one outlier"]), timesteps)
    assert best.sqnr_db == pytest.approx(40.0, abs=0.01)
    assert (best.levels - 100).abs().min() < 0.01


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("name", ["few of a gaussian", "log-normal"])
def test_the_best_of_a_family_does_not_depend_on_the_unit(name, unit):
    """The search for the step ended a fixed 1e-9 from the best, which of currents of 1e-8 cost up to .2 dB."""
    here, there = (ladder(empirical(scale * SAMPLES[name]), 4) for scale in (1.0, unit))
    for rung, best in here.items():
        assert there[rung].sqnr_db == pytest.approx(best.sqnr_db, abs=1e-5), rung


@pytest.mark.parametrize("count", [100, 400])
def test_the_best_step_is_not_below_that_of_the_grid_it_began_from(count):
    """The error on samples jumps with the step: the search between two points of the grid ended up to .1 dB below."""
    k = torch.arange(1, 5, dtype=torch.float64)
    for seed in range(20):
        density = empirical(np.random.default_rng(seed).normal(size=count))
        steps = density.scale * torch.logspace(-0.7, 0.7, 60, dtype=torch.float64).unsqueeze(1) / 4**0.75
        best = best_uniform(density, 4)
        assert type(best.sqnr_db) is float
        assert best.sqnr_db >= sqnr(density, steps * k, steps * k).max().item()
