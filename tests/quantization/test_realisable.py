"""The search for the best thresholds: exact errors, families that contain each other, and what the record holds."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from atif_lib.quantization.chains import conditions
from atif_lib.quantization.density import GAUSSIAN, gaussian_sqnr_db
from atif_lib.quantization.families import ladder
from atif_lib.quantization.lloyd_max import lloyd_max
from atif_lib.quantization.nonuniform import thresholds_from_transitions
from atif_lib.quantization.realisable import (
    CONTAINS,
    DECODES,
    best_of_families,
    best_realisable,
    gaussian_noise,
    shares,
)
from atif_lib.quantization.staircases import pieces
from atif_lib.quantization.uniform import spike_counts
from atif_lib.results.records import records_of

FREE = ("", "_free_start")
EIGHT = range(8)


@pytest.fixture(scope="module")
def record():
    """What the search of the book found."""
    return records_of("limits-realisable", "laptop")[0].result


def test_shares_are_those_of_a_brute_force_count():
    found = shares(3, 300, seed=1)
    p = torch.rand(300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).sort(descending=True).values
    exact = 0
    for intended, thresholds in zip(
        p.flip(1).tolist(), thresholds_from_transitions(p.T, "telescoping").T.tolist(), strict=True
    ):
        runs = pieces(thresholds)
        lows = [min((float(q.low) for q in runs if sum(q.spikes) >= n), default=math.inf) for n in (1, 2, 3)]
        wide = [q for q in runs if q.low is None or q.high is None or q.high - q.low > 1e-9]
        monotone = all(sum(a.spikes) <= sum(b.spikes) for a, b in pairwise(wide))
        exact += monotone and lows == pytest.approx(intended, abs=1e-9)
    assert found["telescoping_exact"] == pytest.approx(exact / 3, abs=0.4)


def test_noise_of_a_neuron_is_the_exact_integral_of_its_staircase():
    thresholds = torch.full((1, 4), 1.731, dtype=torch.float64)
    noise = gaussian_noise(thresholds, torch.zeros(1, dtype=torch.float64), "rate_p1")
    edges = torch.arange(1, 5, dtype=torch.float64) * 1.731 / 4
    assert 10 * math.log10(0.5 / noise.item()) == pytest.approx(gaussian_sqnr_db(edges, edges).item(), abs=1e-9)


@pytest.mark.parametrize(
    ("decode", "free", "db"),
    [("rate_p1", False, 14.63), ("levels", False, 15.55), ("weights", False, 18.0), ("weights", True, 20.6)],
)
def test_best_realisable_of_the_facts_table(decode, free, db):
    found = best_realisable(4, decode, free, restarts=1)
    assert found.sqnr_db == pytest.approx(db, abs=0.05)
    assert found.hits == 1


def test_decodes_are_ordered_by_their_freedom():
    generator = torch.Generator().manual_seed(0)
    thresholds = torch.rand(200, 4, generator=generator, dtype=torch.float64) * 3 + 0.2
    noise = {d: gaussian_noise(thresholds, 0.3 * thresholds[:, 0], d) for d in DECODES}
    for better, worse in [("gain", "rate_p1"), ("levels", "gain"), ("patterns", "levels"), ("patterns", "weights")]:
        assert (noise[better] <= noise[worse] + 1e-9).all(), (better, worse)
    assert (noise["weights"] <= noise["gain"] + 1e-9).all()


def explained(thresholds, start, features):
    """Power of ReLU(i) that the best linear mix of features of the spikes explains, by pieces and quadrature."""
    found = [p for p in pieces(thresholds, start) if sum(p.spikes)]
    ends = [(float(p.low), math.inf if p.high is None else float(p.high)) for p in found]
    mass = np.array([stats.norm.cdf(high) - stats.norm.cdf(low) for low, high in ends])
    first = [integrate.quad(lambda u: u * stats.norm.pdf(u), max(a, 0), max(b, 0))[0] for a, b in ends]
    z = np.array([features(p.spikes) for p in found], dtype=float)
    gram, target = (z * mass[:, None]).T @ z, z.T @ np.array(first)
    return target @ np.linalg.lstsq(gram, target, rcond=1e-10)[0]


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("timesteps", [2, 4, 6, 8])
def test_recorded_thresholds_reach_what_the_record_says(record, timesteps, free):
    n = timesteps - 1
    for decode, features in [("gain", lambda z: [sum(z)]), ("weights", lambda z: z)]:
        found = explained(record[f"{decode}{free}_thresholds"][n], record[f"{decode}{free}_start"][n], features)
        assert -10 * math.log10(1 - 2 * found) == pytest.approx(record[f"{decode}{free}_db"][n], abs=1e-3)
    for name in DECODES:
        thresholds = torch.tensor([record[f"{name}{free}_thresholds"][n]], dtype=torch.float64)
        start = torch.tensor([record[f"{name}{free}_start"][n]], dtype=torch.float64)
        db = 10 * math.log10(0.5 / gaussian_noise(thresholds, start, name).item())
        assert db == pytest.approx(record[f"{name}{free}_db"][n], abs=1e-9)


@pytest.mark.parametrize("free", FREE)
def test_no_family_of_the_record_is_below_one_that_it_contains(record, free):
    for name, poorer in CONTAINS.items():
        for other in poorer:
            assert all(record[f"{name}{free}_db"][t] >= record[f"{other}{free}_db"][t] - 1e-6 for t in EIGHT)
        assert all(record[f"{name}_free_start_db"][t] >= record[f"{name}_db"][t] - 1e-6 for t in EIGHT)
        if name != "rate_p1":  # a last timestep that never fires
            assert all(a <= b + 1e-6 for a, b in pairwise(record[f"{name}{free}_db"]))


def test_the_record_meets_the_limits_that_are_known(record):
    for t in EIGHT:
        limit = lloyd_max(GAUSSIAN, t + 1).sqnr_db
        assert record["levels_db"][t] == pytest.approx(limit, abs=1e-4)
        assert record["levels_free_start_db"][t] <= limit + 1e-9
        rungs = ladder(GAUSSIAN, t + 1)
        assert record["rate_p1_db"][t] == pytest.approx(rungs["non-uniform, rate · p1"].sqnr_db, abs=1e-3)
        assert record["gain_db"][t] == pytest.approx(rungs["uniform, half-step start"].sqnr_db, abs=1e-3)


def test_thresholds_that_an_earlier_search_missed(record):
    """With T = 6 the record once had 23.13 dB for patterns, below its own 23.41 dB for weights."""
    thresholds = torch.tensor([[0.1154, 4.2384, 3.8229, 2.4404, 2.3919, 2.0712]], dtype=torch.float64)
    db = 10 * math.log10(0.5 / gaussian_noise(thresholds, torch.zeros(1), "patterns").item())
    assert db == pytest.approx(23.63, abs=0.005)
    assert record["patterns_db"][5] >= db - 1e-3


def test_a_search_is_never_below_its_starts():
    found = best_of_families(2, restarts=1, population=10)
    for free in (False, True):
        for name, poorer in CONTAINS.items():
            assert all(found[name, free][1].sqnr_db >= found[other, free][1].sqnr_db - 1e-9 for other in poorer)
    start = best_realisable(3, "weights")
    grown = best_realisable(5, "patterns", guesses=[start], restarts=0, population=5)
    assert len(grown.thresholds) == 5
    assert grown.sqnr_db >= start.sqnr_db


def test_an_unknown_decode():
    with pytest.raises(ValueError, match=r"decode='rank'; allowed: 'rate_p1'"):
        gaussian_noise(torch.ones(1, 2), torch.zeros(1), "rank")


def test_thresholds_in_float32_are_taken():
    thresholds = torch.tensor([[1.6, 1.2, 0.8]])
    found = [gaussian_noise(t, torch.zeros(1, dtype=t.dtype), "levels") for t in (thresholds, thresholds.double())]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_search_starts_from_somewhere():
    with pytest.raises(ValueError, match="restarts=0; allowed: an integer, 1 or more"):
        best_realisable(2, "gain", restarts=0)


def test_for_more_timesteps_than_orders_serve_a_count_is_lloyd_max_by_another_simulation(record):
    found = records_of("limits-counts", "laptop")[0].result
    assert found["timesteps"] == [9, 10, 11]
    x = torch.linspace(0, 6, 20_001, dtype=torch.float64)
    for timesteps, thresholds in zip(found["timesteps"], found["thresholds"], strict=True):
        limit = lloyd_max(GAUSSIAN, timesteps)
        away = (x[:, None] - limit.transitions).abs().min(1).values > 1e-4
        counts = spike_counts(x, torch.tensor(thresholds, dtype=torch.float64))
        assert torch.equal(counts[away], torch.searchsorted(limit.transitions, x)[away].to(counts.dtype))
        assert not record["lloyd_max_orders"][timesteps - 1]
        steps, rows = conditions(tuple(piece.spikes for piece in pieces(thresholds)))
        solved = np.linalg.solve(steps[:, :-1], limit.transitions.numpy())  # so that they step there exactly
        assert (rows[:, :-1] @ solved).min() > 1e-3
