"""Exact staircases agree with simulation and rational arithmetic, and what is said to be realised is."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atif_lib.quantization import thresholds_from_transitions, transitions_from_thresholds
from atif_lib.quantization.staircases import (
    count_staircase,
    order_thresholds,
    pattern_edges,
    patterns,
    pieces,
    realises,
    safe_thresholds,
)
from atif_lib.quantization.uniform import spike_counts

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
    assert thresholds_from_transitions(p.T, "printed").T[0].tolist() == pytest.approx([1, 1.25, 1, 1])
    printed = count_staircase(thresholds_from_transitions(p.T, "printed").T).transitions[0]
    assert printed.tolist() == pytest.approx([0.25, 0.5, 0.8125, 1.125])
    assert realises(thresholds_from_transitions(p.T, "telescoping").T, p.flip(1)).item()


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 2), min_size=2, max_size=4), st.randoms())
def test_an_order_is_realised_exactly_when_its_transitions_come_back(gaps, random):
    """As rational arithmetic has it: on each piece the count is that of the transitions below the input."""
    transitions = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    order = random.sample(range(1, len(gaps) + 1), len(gaps))
    thresholds = order_thresholds(transitions, order)
    if not (thresholds > 0).all():
        return
    rounding = 1e-9 * thresholds.max().item()
    found = pieces(thresholds.tolist())
    ends = [-math.inf, *(float(p.low) for p in found[1:]), math.inf]
    back = all(
        sum(p.spikes) == (transitions <= low + rounding).sum() == (transitions < high - rounding).sum()
        for p, (low, high) in zip(found, pairwise(ends), strict=True)
        if high - low > rounding
    )
    assert bool(realises(thresholds, transitions)) == back
    if back:
        for shift, counts in ((1e-7, range(1, len(gaps) + 1)), (-1e-7, range(len(gaps)))):
            assert spike_counts(transitions + shift, thresholds).tolist() == list(counts)


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pieces([]), "thresholds=\\[\\]; allowed: one or more"),
        (lambda: pieces([math.nan]), "allowed: finite numbers"),
        (
            lambda: order_thresholds(torch.ones(3), (1, 2, 2)),
            r"order=\(1, 2, 2\); allowed: a permutation of 1 ... 3",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_thresholds_of_a_neuron_s_own_precision_are_judged_by_it():
    w = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0))
    for thresholds in (safe_thresholds(w), safe_thresholds(w.double())):
        scaled = thresholds / thresholds[:, :1]
        assert realises(scaled, transitions_from_thresholds(scaled.T).T.flip(1)).all()
    assert not count_staircase(torch.full((4,), math.nan)).monotone
    assert count_staircase(torch.full((4,), 0.7)).patterns == count_staircase(torch.full((4,), 0.7).double()).patterns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1e-8, 1e-6, 1e-3, 1e3, 1e8])
def test_the_unit_of_the_thresholds_does_not_matter(factor, dtype):
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(200, 5, generator=generator, dtype=dtype)
    thresholds = torch.cat([safe_thresholds(w), 3 * torch.rand(200, 4, generator=generator, dtype=dtype) + 0.1])
    transitions = transitions_from_thresholds(thresholds.T).T.flip(1)
    start = thresholds[:, 0] / 4
    here, there = count_staircase(thresholds, start), count_staircase(factor * thresholds, factor * start)
    assert torch.allclose(there.transitions / factor, here.transitions, rtol=1e-4, atol=0)
    assert torch.equal(there.monotone, here.monotone)
    assert torch.equal(there.patterns, here.patterns)
    realised = realises(thresholds, transitions)
    assert torch.equal(realises(factor * thresholds, factor * transitions), realised)
    assert realised[:200].all()
    assert not realised[200:].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [1e-8, 1e-6, 1.0, 1e8])
def test_small_equal_thresholds_make_even_steps_and_no_others(threshold, dtype):
    thresholds = torch.full((4,), threshold, dtype=dtype)
    found = count_staircase(thresholds).transitions
    assert (found / threshold).tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=1e-5)
    assert realises(thresholds, found)
    assert not realises(thresholds, threshold * torch.tensor([9.0, 1.0, 8.0, 2.0], dtype=dtype))


def test_each_neuron_of_several_has_its_own_unit():
    thresholds = torch.tensor([[1e-8] * 4, [1.0] * 4, [1e8] * 4], dtype=torch.float64)
    transitions = thresholds * torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert realises(thresholds, transitions).all()
    assert not realises(thresholds, transitions * (1 + 1e-6)).any()
    assert realises(thresholds, transitions * (1 + 1e-6), tolerance=1e-12).tolist() == [True, False, False]
