"""The linear conditions of a chain say what exact pieces show; the two criteria for staircases are told apart."""

from fractions import Fraction
from itertools import combinations_with_replacement, pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atif_lib.quantization.chains import (
    chains,
    conditions,
    order_chain,
    realise,
    realise_in_order,
    realised_by,
    realising_orders,
)
from atif_lib.quantization.density import GAUSSIAN
from atif_lib.quantization.lloyd_max import lloyd_max
from atif_lib.quantization.realisable import shares
from atif_lib.quantization.staircases import order_thresholds, pieces, realises
from atif_lib.quantization.uniform import spike_counts

SMALL = st.lists(st.integers(1, 24), min_size=1, max_size=4)
# V = (9/4, 9/2, 5) makes these transitions, and no order of the timesteps does.
WITHOUT_ORDER = [Fraction(5, 3), Fraction(29, 12), Fraction(47, 12)]


def exact_transitions(thresholds, start=0):
    """Inputs at which the count steps up, by `pieces`; None where it falls or jumps."""
    found = pieces(thresholds, start)
    counts = [sum(piece.spikes) for piece in found]
    if any(not 0 <= b - a <= 1 for a, b in pairwise(counts)):
        return None
    return [b.low for a, b in pairwise(found) if sum(b.spikes) > sum(a.spikes)]


def solve(rows, values):
    """Gaussian elimination in rational numbers; None for rows that depend on each other."""
    table = [[*map(Fraction, row), Fraction(value)] for row, value in zip(rows, values, strict=True)]
    for n in range(len(table)):
        pivot = next((m for m in range(n, len(table)) if table[m][n]), None)
        if pivot is None:
            return None
        table[n], table[pivot] = table[pivot], table[n]
        table[n] = [x / table[n][n] for x in table[n]]
        for m in set(range(len(table))) - {n}:
            table[m] = [a - table[m][n] * b for a, b in zip(table[m], table[n], strict=True)]
    return [row[-1] for row in table]


def exact_cuts(chain):
    """Input of each step of the count as a form in the thresholds, V(0) = 0, straight from the definition."""
    rows = []
    for before, after in pairwise(chain):
        if sum(after) > sum(before):
            t = next(n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
            rows.append([Fraction(z if n < t else n == t, t + 1) for n, z in enumerate(before)])
    return rows


def test_how_many_chains_there_are():
    assert [len(chains(t)) for t in (1, 2, 3, 4)] == [1, 3, 33, 2079]
    assert order_chain((2, 1, 3)) == ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1))


@settings(max_examples=150)
@given(SMALL, st.integers(0, 12))
def test_a_neuron_meets_the_conditions_of_its_own_chain(thresholds, start):
    steps = exact_transitions(thresholds, start)
    if steps is None:
        return
    chain = tuple(piece.spikes for piece in pieces(thresholds, start))
    numbers = np.array([*thresholds, start], dtype=float)
    assert (conditions(chain).rows @ numbers > -1e-9).all()
    assert conditions(chain).steps @ numbers == pytest.approx([float(s) for s in steps], abs=1e-9)


@settings(max_examples=25)
@given(SMALL.filter(lambda v: len(v) < 4))
def test_what_some_neuron_makes_is_found(thresholds):
    """Integer thresholds have coinciding pieces often: chains of no volume are met too."""
    steps = exact_transitions(thresholds)
    if steps is None or any(a == b for a, b in pairwise(steps)) or steps[0] <= 0:
        return
    wanted = torch.tensor([float(s) for s in steps], dtype=torch.float64)
    _, found = realise(wanted)
    assert realises(found, wanted)
    rational = [Fraction(v).limit_denominator(1000) for v in found.tolist()]
    assert exact_transitions(rational) == steps


@settings(max_examples=20)
@given(st.lists(st.integers(1, 60), min_size=3, max_size=3, unique=True))
def test_three_timesteps_are_decided_as_in_rational_arithmetic(steps):
    """Every chain solved for its thresholds exactly, and these put into `pieces`."""
    wanted = sorted(steps)
    solved = [solve(exact_cuts(chain), wanted) for chain in chains(3)]
    exact = any(v and all(x > 0 for x in v) and exact_transitions(v) == wanted for v in solved)
    floats = torch.tensor(wanted, dtype=torch.float64)
    quick = any(realised_by(chain, floats.numpy()[None])[0] for chain in chains(3))
    assert quick == exact
    found = realise(floats)
    assert (found is not None) >= exact
    if found is not None and not exact:  # a chain without volume
        rational = [Fraction(v).limit_denominator(1000) for v in found[1].tolist()]
        assert exact_transitions(rational) == wanted


def test_four_timesteps_are_decided_as_in_rational_arithmetic():
    generator = np.random.default_rng(3)
    wanted = np.sort(generator.choice(np.arange(1, 97), (12, 4)), axis=1)
    wanted = wanted[(np.diff(wanted) > 0).all(1)]
    quick = np.zeros(len(wanted), dtype=bool)
    for chain in chains(4):
        quick |= realised_by(chain, wanted.astype(float))
    cuts = [exact_cuts(chain) for chain in chains(4)]
    for steps, said in zip(wanted[:4].tolist(), quick[:4], strict=True):
        solved = (solve(rows, steps) for rows in cuts)
        assert said == any(v and all(x > 0 for x in v) and exact_transitions(v) == steps for v in solved)
    assert 0 < quick.sum() < len(quick)


def test_chains_with_independent_steps_leave_no_staircase_of_random_thresholds_out():
    """Random thresholds often run through a chain of no volume; another chain then makes their staircase too."""
    generator = torch.Generator().manual_seed(5)
    found = [exact_transitions(row) for row in (3 * torch.rand(400, 4, generator=generator)).tolist()]
    wanted = np.array(
        [steps for steps in found if steps and min(b - a for a, b in pairwise(steps)) > 1e-6], dtype=float
    )
    assert len(wanted) > 350
    assert np.any([realised_by(chain, wanted) for chain in chains(4)], axis=0).all()


def test_thresholds_without_an_order():
    """Realised by the count and by no order: what orders can do is less."""
    assert exact_transitions([Fraction(9, 4), Fraction(9, 2), 5]) == WITHOUT_ORDER
    wanted = torch.tensor([float(x) for x in WITHOUT_ORDER], dtype=torch.float64)
    assert realise_in_order(wanted) is None
    for order in permutations((1, 2, 3)):
        assert not realises(order_thresholds(wanted, order), wanted)
    chain, thresholds = realise(wanted)
    assert len(chain) > 4
    assert exact_transitions([Fraction(v).limit_denominator(100) for v in thresholds.tolist()]) == WITHOUT_ORDER


def test_uniform_steps_have_an_order_up_to_five_timesteps_only():
    """At T = 6 an order gives thresholds of the right count, but the timesteps then do not join in that order."""
    assert all(realise_in_order(torch.arange(1, t + 1)) for t in range(1, 6))
    assert not any(realise_in_order(torch.arange(1, t + 1)) for t in range(6, 10))
    wanted = torch.arange(1, 7, dtype=torch.float64)
    by_count = [order for order in permutations(range(1, 7)) if realises(order_thresholds(wanted, order), wanted)]
    assert by_count
    for order in by_count:
        met = tuple(piece.spikes for piece in pieces(order_thresholds(wanted, order).tolist()))
        assert met != order_chain(order)


@pytest.mark.parametrize(("timesteps", "count"), [*enumerate((1, 2, 4, 9, 11, 8, 2, 1, 0), 1)])
def test_all_orders_that_make_the_lloyd_max_staircase_and_where_thresholds_may_simply_rise(timesteps, count):
    best = lloyd_max(GAUSSIAN, timesteps).transitions
    found = dict(realising_orders(best))
    assert len(found) == count
    rising = {order for order, thresholds in found.items() if (thresholds.diff() > 0).all()}
    early = tuple(range(1, timesteps + 1))
    assert rising == ({early} if timesteps <= 5 else set())
    falling = [order for order, thresholds in found.items() if (thresholds.diff() < 0).all()]
    assert bool(falling) == (timesteps <= 2)
    for order, thresholds in found.items():
        assert thresholds.tolist() == pytest.approx(order_thresholds(best, order).tolist())
        assert spike_counts(best + 1e-9, thresholds).tolist() == list(range(1, timesteps + 1))
        assert spike_counts(best - 1e-9, thresholds).tolist() == list(range(timesteps))


@pytest.mark.parametrize("timesteps", range(1, 8))
def test_early_first_makes_even_steps_up_to_three_timesteps(timesteps):
    found = dict(realising_orders(torch.arange(1, timesteps + 1)))
    early = tuple(range(1, timesteps + 1))
    assert (early in found) == (timesteps <= 3)
    if timesteps == 3:
        assert found[early].tolist() == [1, 3, 5]


@pytest.mark.parametrize("timesteps", range(1, 11))
def test_orders_make_the_lloyd_max_staircase_up_to_eight_timesteps(timesteps):
    best = lloyd_max(GAUSSIAN, timesteps).transitions
    found = realise_in_order(best)
    assert (found is not None) == (timesteps <= 8)
    if found:
        order, thresholds = found
        assert thresholds.tolist() == pytest.approx(order_thresholds(best, order).tolist())
        assert (conditions(order_chain(order)).rows @ [*thresholds.tolist(), 0.0] > -1e-9).all()
        assert spike_counts(best + 1e-9, thresholds).tolist() == list(range(1, timesteps + 1))
        assert spike_counts(best - 1e-9, thresholds).tolist() == list(range(timesteps))


def test_an_order_of_many_timesteps_has_independent_steps():
    wanted = 3.0 ** torch.arange(13, dtype=torch.float64)
    found = realise_in_order(wanted)
    assert found is not None
    assert realised_by(order_chain(found[0]), wanted.numpy()[None]).all()


@pytest.mark.parametrize("timesteps", [2, 3, 4])
def test_orders_are_searched_as_all_of_them_one_by_one(timesteps):
    generator = np.random.default_rng(timesteps)
    wanted = np.sort(generator.random((60, timesteps)), axis=1)
    orders = [order_chain(order) for order in permutations(range(1, timesteps + 1))]
    one_by_one = np.any([realised_by(chain, wanted) for chain in orders], axis=0)
    assert [realise_in_order(torch.tensor(row)) is not None for row in wanted] == one_by_one.tolist()


def test_two_timesteps_are_theorem_three():
    for second in (1.4, 1.49, 1.5, 1.51, 3.0):
        assert (realise(torch.tensor([1.0, second])) is not None) == (second >= 1.5)


@pytest.mark.parametrize("factor", [1e-10, 1e-8, 1e-3, 1e3, 1e8])
@pytest.mark.parametrize("start", [0.0, 0.2])
def test_the_unit_of_the_transitions_does_not_matter(factor, start):
    """The tolerances of a linear programme are absolute: in a small unit anything met them, or nothing."""
    for wanted in ([1.1, 2.3, 3.7, 4.9], [5 / 3, 29 / 12, 47 / 12], [1.0, 1.1, 1.2], [1.0, 1.4], [1.0, 1.6], [3.0]):
        wanted = torch.tensor(wanted, dtype=torch.float64)
        here, there = realise(wanted, start), realise(factor * wanted, factor * start)
        assert (here is None) == (there is None)
        if here and there:
            assert there[0] == here[0]
            assert (there[1] / factor).tolist() == pytest.approx(here[1].tolist(), abs=1e-9)
        here, there = dict(realising_orders(wanted, start)), dict(realising_orders(factor * wanted, factor * start))
        assert list(there) == list(here)
        for order, thresholds in here.items():
            assert (there[order] / factor).tolist() == pytest.approx(thresholds.tolist(), abs=1e-9)


def test_what_no_thresholds_make_they_do_not_make_in_another_unit():
    assert realise(1e-10 * torch.tensor([1.0, 1.1, 5.0, 5.1], dtype=torch.float64)) is None


def test_a_membrane_may_start_below_zero():
    for wanted in (torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.25, 0.5], dtype=torch.float64)):
        assert realise_in_order(wanted, -1.0) is not None
        _, found = realise(wanted, -1.0)
        assert realises(found, wanted, -1.0)


@pytest.mark.parametrize("factor", [1e-10, 1e-8, 1e8])
def test_the_unit_of_a_table_of_transitions_does_not_matter(factor):
    wanted = np.sort(np.random.default_rng(7).random((500, 3)), axis=1)
    here = [realised_by(chain, wanted) for chain in chains(3)]
    there = [realised_by(chain, factor * wanted) for chain in chains(3)]
    assert np.array_equal(here, there)
    assert 0 < np.any(here, axis=0).sum() < len(wanted)


def test_shares_by_order_and_by_count():
    """Of four in ten random requests at T = 3 that some thresholds meet, orders miss some."""
    found = shares(3, 20_000)
    assert found["telescoping_exact"] == pytest.approx(10.1, abs=1)
    assert found["some_order"] == pytest.approx(37.4, abs=1)
    assert found["some_thresholds"] == pytest.approx(40.9, abs=1)
    assert "some_thresholds" not in shares(5, 10)


def test_the_region_of_the_telescoping_form_is_exactly_its_realised_part():
    """Theorem 4, for all decreasing integer thresholds up to 14: neither bound can be moved."""
    inside = 0
    for falling in combinations_with_replacement(range(14, 0, -1), 4):
        v1, v2, v3, v4 = map(Fraction, falling)
        meant = [v4 / 4, (v3 + v4) / 4, (v2 + v3 + v4) / 4, v1]
        assert (exact_transitions(falling) == meant) == (v2 + v3 <= 3 * v4)
        inside += v2 + v3 <= 3 * v4
    assert inside > 500


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chains(5), "timesteps=5; allowed: at most 4"),
        (lambda: realise(torch.arange(1.0, 6)), r"transitions=\[1.0, .*\]; allowed: at most 4"),
        (lambda: realise(torch.tensor([2.0, 1.0])), "allowed: positive, increasing numbers"),
        (lambda: realise_in_order(torch.tensor([0.0, 1.0])), "allowed: positive, increasing numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_transitions_are_refused():
    with pytest.raises(ValueError, match=r"transitions=\[\]; allowed: positive, increasing numbers"):
        realise(torch.tensor([]))


def test_infinity_is_no_transition_and_learned_transitions_are():
    with pytest.raises(ValueError, match=r"transitions=.*inf.*; allowed: positive, increasing numbers, all finite"):
        realise(torch.tensor([1.0, torch.inf]))
    learned = torch.tensor([1.0, 2.0], requires_grad=True)
    assert torch.equal(realise(learned)[1], realise(learned.detach())[1])
