"""Exact staircases agree with simulation and rational arithmetic, and what is said to be realised is."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atif_lib.limits import GAUSSIAN, lloyd_max
from atif_lib.quantization import gaussian_sqnr_db, spike_counts
from atif_lib.realisable import DECODES, best_realisable, gaussian_noise, late_thresholds, shares
from atif_lib.staircases import (
    count_staircase,
    order_thresholds,
    pattern_edges,
    patterns,
    pieces,
    realise,
    realises,
    safe_thresholds,
)

SIXTY_FOURTHS = st.integers(1, 200).map(lambda n: n / 64)
THRESHOLDS = st.lists(SIXTY_FOURTHS, min_size=1, max_size=6)


@settings(max_examples=80)
@given(THRESHOLDS, st.integers(0, 64))
def test_pieces_are_what_simulation_finds(values, v0):
    found = pieces(values, values[0] * v0 / 64)
    grid = torch.arange(-64, 256, dtype=torch.float64) / 64
    counts = spike_counts(grid, torch.tensor(values, dtype=torch.float64), v0 / 64)
    for i, count in zip(grid.tolist(), counts.tolist(), strict=True):
        (piece,) = [p for p in found if (p.low is None or p.low <= i) and (p.high is None or i < p.high)]
        assert sum(piece.spikes) == count


@settings(max_examples=80)
@given(THRESHOLDS, st.integers(-64, 64))
def test_pieces_tile_the_line_and_their_patterns_increase_as_binary_numbers(values, start):
    found = pieces(values, Fraction(start, 64))
    assert (found[0].low, found[-1].high) == (None, None)
    assert all(a.high == b.low and a.spikes < b.spikes for a, b in pairwise(found))
    assert len(values) + 1 <= len(found) <= 2 ** len(values)


@settings(max_examples=80)
@given(THRESHOLDS, st.integers(-64, 64))
def test_edges_in_floating_point_are_those_of_the_pieces(values, start):
    edges = pattern_edges(torch.tensor(values, dtype=torch.float64), start / 64)
    rows = [tuple(row) for row in patterns(len(values)).int().tolist()]
    widths = dict(zip(rows, edges.diff().tolist(), strict=True))
    lows = dict(zip(rows, edges[:-1].tolist(), strict=True))
    found = {p.spikes: p for p in pieces(values, Fraction(start, 64))}
    for row in rows:
        if row in found and found[row].low is not None:
            assert lows[row] == pytest.approx(float(found[row].low), abs=1e-12)
        assert row in found or widths[row] <= 1e-12


def test_a_count_that_falls():
    found = count_staircase(torch.tensor([[2.1, 1.9, 1.3, 2.4], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64))
    assert found.monotone.tolist() == [False, True]
    assert found.transitions[1].tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_printed_and_telescoping_forms_for_uniform_p():
    p = torch.tensor([[1.0, 0.75, 0.5, 0.25]], dtype=torch.float64)
    assert late_thresholds(p, "printed")[0].tolist() == pytest.approx([1, 1.25, 1, 1])
    printed = count_staircase(late_thresholds(p, "printed")).transitions[0]
    assert printed.tolist() == pytest.approx([0.25, 0.5, 0.8125, 1.125])
    assert realises(late_thresholds(p, "telescoping"), p.flip(1)).item()


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 2), min_size=2, max_size=4), st.randoms())
def test_an_order_is_realised_exactly_when_its_transitions_come_back(gaps, random):
    transitions = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    order = random.sample(range(1, len(gaps) + 1), len(gaps))
    thresholds = order_thresholds(transitions, order)
    if (thresholds > 0).all() and realises(thresholds, transitions):
        inside = transitions + 1e-7
        assert spike_counts(inside, thresholds).tolist() == list(range(1, len(gaps) + 1))


def test_late_spikes_need_steep_steps():
    """The order T ... 1 gives V_k = k p_k, and is realised where each p is at least k + 1 times the next."""
    transitions = torch.tensor([1.0, 4.0, 12.0, 24.0], dtype=torch.float64)
    thresholds = order_thresholds(transitions, (4, 3, 2, 1))
    assert thresholds.tolist() == [24.0, 24.0, 12.0, 4.0]
    assert realises(thresholds, transitions)
    assert [p.spikes for p in pieces(thresholds.tolist())] == [(0,) * (4 - k) + (1,) * k for k in range(5)]


def test_safe_thresholds_realise_their_transitions_and_fill_the_region():
    generator = torch.Generator().manual_seed(0)
    w = 3 * torch.randn(5000, 5, generator=generator, dtype=torch.float64)
    thresholds = safe_thresholds(w)
    transitions = torch.cat([thresholds[:, 1:].flip(1).cumsum(1) / 4, thresholds[:, :1]], 1)
    assert realises(thresholds, transitions, tolerance=1e-9).all()
    outside = thresholds[:, 1] + thresholds[:, 2] > 3 * thresholds[:, 3] * (1 + 1e-12)
    assert not outside.any()
    assert not (thresholds.diff(dim=1) > 1e-12).any()
    ratio = (thresholds[:, 1] + thresholds[:, 2]) / thresholds[:, 3]
    assert ratio.min() < 2.05
    assert ratio.max() > 2.95


@pytest.mark.parametrize("timesteps", [1, 2, 3, 4, 5])
def test_thresholds_realise_the_lloyd_max_staircase(timesteps):
    best = lloyd_max(GAUSSIAN, timesteps)
    order, thresholds = realise(torch.tensor(best.transitions))
    assert sorted(order) == list(range(1, timesteps + 1))
    just_above, just_below = torch.tensor(best.transitions) + 1e-9, torch.tensor(best.transitions) - 1e-9
    assert spike_counts(just_above, thresholds).tolist() == list(range(1, timesteps + 1))
    assert spike_counts(just_below, thresholds).tolist() == list(range(timesteps))


def test_a_staircase_that_no_order_realises():
    assert realise(torch.tensor([1.0, 1.2], dtype=torch.float64)) is None  # the second step needs 1.5 times the first


def test_shares_are_those_of_a_brute_force_count():
    found = shares(3, 300, seed=1)
    p = torch.rand(300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).sort(descending=True).values
    exact = 0
    for intended, thresholds in zip(p.flip(1).tolist(), late_thresholds(p, "telescoping").tolist(), strict=True):
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
    assert best_realisable(4, decode, free).sqnr_db == pytest.approx(db, abs=0.05)


def test_decodes_are_ordered_by_their_freedom():
    generator = torch.Generator().manual_seed(0)
    thresholds = torch.rand(200, 4, generator=generator, dtype=torch.float64) * 3 + 0.2
    noise = {d: gaussian_noise(thresholds, 0.3 * thresholds[:, 0], d) for d in DECODES}
    for better, worse in [("gain", "rate_p1"), ("levels", "gain"), ("patterns", "levels"), ("patterns", "weights")]:
        assert (noise[better] <= noise[worse] + 1e-9).all(), (better, worse)
    assert (noise["weights"] <= noise["gain"] + 1e-9).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pieces([]), "thresholds must have at least one entry"),
        (lambda: pieces([math.nan]), "thresholds must be finite"),
        (
            lambda: order_thresholds(torch.ones(3), (1, 2, 2)),
            r"order must be a permutation of 1 ... 3, got \(1, 2, 2\)",
        ),
        (lambda: realise(torch.tensor([2.0, 1.0])), "transitions must be at most 8 positive, increasing"),
        (lambda: gaussian_noise(torch.ones(1, 2), torch.zeros(1), "rank"), "decode must be one of .* got 'rank'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
