"""The staircases are right to the last bit, and their errors are those of the exact integrals and the facts table."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from atif_lib.quantization.density import GAUSSIAN, gaussian_sqnr_db, maximise_sqnr
from atif_lib.quantization.families import best_uniform
from atif_lib.quantization.staircases import count_staircase
from atif_lib.quantization.uniform import spike_counts, split_error, sqnr_db, staircase, uniform_staircase

DTYPES = (torch.float32, torch.float64)
HUGE = {torch.float32: 3e38, torch.float64: 1e307}
V0 = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)


def exact_counts(currents, thresholds, v0):
    """Eqs 2-5 in rational numbers; what is rounded is the initial membrane, to the dtype, as a stored number is."""
    thresholds = thresholds.to(currents.dtype)
    start = Fraction((v0 * thresholds[0]).item())
    counts = []
    for i in map(Fraction, currents.tolist()):
        v, count = start, 0
        for threshold in map(Fraction, thresholds.tolist()):
            v += i
            if v >= threshold:
                v, count = v - threshold, count + 1
        counts.append(count)
    return counts


def closed_form(currents, threshold, timesteps, v0):
    """Eq. 7 with floor and clip, in rational numbers."""
    start, step = Fraction((v0 * threshold).item()), Fraction(threshold.item())
    return [min(timesteps, max(0, math.floor((timesteps * Fraction(i) + start) / step))) for i in currents.tolist()]


@st.composite
def uniform_cases(draw):
    """Currents around every multiple of a step, one ulp off on either side, huge, tiny, and any in between."""
    dtype, timesteps = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 24))
    width = torch.finfo(dtype).bits
    step = draw(st.sampled_from([2.0**-10, 0.25, 3.0]) | st.floats(2**-20, 2**20, width=width))
    threshold = timesteps * torch.tensor(step, dtype=dtype)
    multiples = torch.arange(-2, timesteps + 3, dtype=dtype) * threshold / timesteps
    extremes = torch.tensor([0.0, 1.0, -1.0], dtype=dtype)
    anywhere = torch.tensor(draw(st.lists(st.floats(-2, 2, width=width), max_size=8)), dtype=dtype)
    currents = torch.cat(
        [
            multiples,
            multiples.nextafter(torch.tensor(-torch.inf, dtype=dtype)),
            multiples.nextafter(torch.tensor(torch.inf, dtype=dtype)),
            extremes * HUGE[dtype],
            extremes * threshold * 2.0**-54,
            anywhere * threshold,
        ]
    )
    return currents, threshold, timesteps, draw(V0)


@settings(max_examples=60)
@given(uniform_cases())
def test_simulation_closed_form_and_rational_arithmetic_agree(case):
    currents, threshold, timesteps, v0 = case
    exact = closed_form(currents, threshold, timesteps, v0)
    assert exact_counts(currents, threshold.expand(timesteps), v0) == exact
    assert spike_counts(currents, threshold.expand(timesteps), v0).tolist() == exact
    assert staircase(currents, threshold, timesteps, v0).tolist() == exact


@settings(max_examples=60)
@given(st.data(), st.sampled_from(DTYPES), V0)
def test_thresholds_of_each_timestep_agree_with_rational_arithmetic(data, dtype, v0):
    numbers = st.integers(1, 200).map(lambda n: n / 64) | st.floats(0.125, 8, width=32)
    thresholds = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=20)), dtype=dtype)
    sixty_fourths = torch.arange(-32, 256, dtype=dtype) / 64
    reachable = torch.cat([thresholds, thresholds.cumsum(0) / torch.arange(1, len(thresholds) + 1), -thresholds])
    currents = torch.cat([sixty_fourths, reachable, torch.tensor([HUGE[dtype], -HUGE[dtype]], dtype=dtype)])
    assert spike_counts(currents, thresholds, v0).tolist() == exact_counts(currents, thresholds, v0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *DTYPES])
def test_counts_by_hand(dtype):
    currents = torch.tensor([[-1.0, 0.0, 0.24], [0.25, 0.5, 0.99], [1.0, 1.5, 60.0]], dtype=dtype)
    by_hand = [[0, 0, 0], [1, 2, 3], [4, 4, 4]]
    assert staircase(currents, 1.0, 4).tolist() == by_hand
    assert spike_counts(currents, torch.ones(4), 0.0).tolist() == by_hand
    assert spike_counts(torch.tensor([0.49, 0.5, 1.0], dtype=dtype), torch.tensor([1.0, 0.5])).tolist() == [1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *DTYPES])
def test_thresholds_keep_their_own_precision(dtype):
    """In half precision 1e5 would be infinite, and 0.301 no more than the current."""
    currents = torch.tensor([0.30078, -0.1, 3e4], dtype=dtype)
    for threshold in (0.301, 1e5):
        single = torch.tensor(threshold)
        exact = closed_form(currents, single, 4, 0.0)
        assert spike_counts(currents, single.expand(4)).tolist() == exact
        assert staircase(currents, single, 4).tolist() == exact
        double = torch.tensor(threshold, dtype=torch.float64)
        number = double if dtype == torch.float64 else single
        assert staircase(currents, threshold, 4).tolist() == closed_form(currents, number, 4, 0.0)
    assert exact == [0, 0, 1]
    assert staircase(currents, 0.301, 4).tolist() == [3, 0, 4]
    assert spike_counts(currents.view(3, 1), single.expand(4)).dtype == torch.int64


def test_half_step_start_shifts_the_staircase_by_half_a_step():
    i = torch.arange(-64, 129, dtype=torch.float64) / 64
    assert torch.equal(staircase(i, 1.0, 4, v0=0.5), staircase(i + 1 / 8, 1.0, 4))


# --- SQNR and the split of the error ---


def test_sqnr_by_hand_over_all_samples_or_one_dimension():
    x, x_hat = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 3.0], [0.0, 0.0]])
    assert sqnr_db(x, x_hat).item() == pytest.approx(10 * math.log10(26 / 2))
    assert sqnr_db(x, x_hat, dim=1).tolist() == pytest.approx([10 * math.log10(25), 0.0], abs=1e-6)
    assert sqnr_db(x, x_hat, dim=0).tolist() == pytest.approx([10 * math.log10(10), 10 * math.log10(16)])
    assert sqnr_db(x, x) == torch.inf


@pytest.mark.parametrize(
    ("dtype", "x", "x_hat", "db"),
    [
        (torch.float16, 300, 290, 29.54),
        (torch.float16, 6e4, -6e4, -6.02),
        (torch.float16, 1e-4, 0, 0.0),
        (torch.bfloat16, 2.0**70, 2.0**69, 6.02),
        (torch.float32, 2e19, 1.8e19, 20.0),
        (torch.float32, 1e-25, 0.9e-25, 20.0),
    ],
)
def test_squares_neither_overflow_nor_vanish(dtype, x, x_hat, db):
    found = sqnr_db(torch.full((2, 3), x, dtype=dtype), torch.full((2, 3), x_hat, dtype=dtype), dim=1)
    assert found.tolist() == pytest.approx([db, db], abs=0.02)
    assert found.dtype == dtype


def test_the_sqnr_has_the_wider_of_two_types_and_a_gradient():
    x, x_hat = torch.ones(2), torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    found = sqnr_db(x, x_hat)
    assert found.dtype == torch.float64
    found.backward()
    assert x_hat.grad.tolist() == pytest.approx([10 / math.log(10) * 2] * 2)


def test_a_small_granular_error_beside_a_large_overload():
    granular, overload = split_error(torch.tensor([1.0, 2000.0]), torch.tensor([0.999, 1000.0]), 10.0)
    assert granular.item() == pytest.approx(5e-7, rel=1e-3)
    assert overload.item() == 5e5


def test_error_parts_by_hand():
    x, x_hat = torch.tensor([0.5, 1.0, 3.0, -1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert split_error(x, x_hat, 1.0) == (pytest.approx((0.25 + 1) / 4), pytest.approx(4 / 4))


@settings(max_examples=40)
@given(st.lists(st.floats(0, 4), min_size=1, max_size=40), st.floats(0.1, 3), st.integers(1, 8))
def test_error_parts_add_up_and_overload_starts_at_saturation(inputs, threshold, timesteps):
    x = torch.tensor(inputs, dtype=torch.float64)
    x_hat = threshold / timesteps * staircase(x, threshold, timesteps)
    granular, overload = split_error(x, x_hat, threshold)
    assert (granular + overload).item() == pytest.approx((x - x_hat).square().mean().item())
    assert 0 <= granular <= (threshold / timesteps) ** 2 * (1 + 1e-6)
    assert (overload > 0) == (x > threshold).any()


def test_no_overload_below_saturation():
    x = torch.linspace(0, 1, 100)
    assert split_error(x, staircase(x, 1.0, 4) / 4, 1.0).overload == 0


# --- the exact integral ---


@settings(max_examples=20)
@given(
    st.lists(st.floats(0.05, 1), min_size=1, max_size=5),
    st.lists(st.floats(-1, 3), min_size=5, max_size=5),
    st.floats(0.01, 100),
)
def test_the_closed_form_equals_numerical_integration(gaps, levels, sigma):
    edges = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    levels = torch.tensor(levels[: len(gaps)], dtype=torch.float64)
    pieces = zip([0, *edges], [*edges, 12.0], [0, *levels], strict=True)
    noise = sum(
        integrate.quad(lambda x, level=level: (x - level) ** 2 * stats.norm.pdf(x), low, high)[0]
        for low, high, level in pieces
    )
    found = gaussian_sqnr_db(edges * sigma, levels * sigma, sigma)
    assert found.item() == pytest.approx(10 * math.log10(0.5 / noise), abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "timesteps", "v0"), [(0.1, 4, 0.0), (0.173, 4, 0.5), (1.0, 4, 0.0), (1.0, 20, 0)]
)
def test_sampling_agrees_with_the_exact_integral(threshold, timesteps, v0):
    quantiles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    i = torch.distributions.Normal(0.0, 0.1).icdf(quantiles)
    sampled = sqnr_db(i.relu(), threshold / timesteps * staircase(i, threshold, timesteps, v0))
    exact = gaussian_sqnr_db(*uniform_staircase(torch.tensor(threshold, dtype=torch.float64), timesteps, v0), 0.1)
    assert sampled.item() == pytest.approx(exact.item(), abs=2e-3)


def test_the_exact_integral_of_many_steps_does_not_cancel_in_float32():
    found = [
        gaussian_sqnr_db(*uniform_staircase(torch.tensor(5.0, dtype=t), 4000)) for t in (torch.float32, torch.float64)
    ]
    assert found[0].dtype == torch.float32
    assert found[0].item() == pytest.approx(found[1].item(), abs=0.01)


def test_the_exact_integral_is_differentiable():
    edges = torch.tensor([0.3, 0.8, 1.5], dtype=torch.float64, requires_grad=True)
    levels = torch.tensor([0.5, 1.1, 1.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_sqnr_db, (edges, levels))


# --- the numbers of the paper's toy problem and the best of each family (sigma units), computed independently ---


@pytest.mark.parametrize(
    ("threshold", "timesteps", "sigma", "db"), [(1.0, 4, 0.1, 0.45), (1.0, 20, 0.1, 11.25), (1.0, 4, 1.0, 7.84)]
)
def test_fixed_thresholds_of_the_facts_table(threshold, timesteps, sigma, db):
    edges, levels = uniform_staircase(torch.tensor(threshold, dtype=torch.float64), timesteps)
    assert gaussian_sqnr_db(edges, levels, sigma).item() == pytest.approx(db, abs=0.006)


@pytest.mark.parametrize(
    ("timesteps", "v0", "db", "over_sigma"),
    [
        (1, 0.0, 4.69, None),
        (2, 0.0, 7.50, None),
        (3, 0.0, 9.52, None),
        (4, 0.0, 11.09, 1.731),
        (8, 0.0, 15.30, None),
        (1, 0.5, 7.21, None),
        (2, 0.5, 10.85, None),
        (3, 0.5, 13.29, None),
        (4, 0.5, 15.13, 2.135),
        (8, 0.5, 19.83, None),
    ],
)
def test_best_uniform_thresholds_of_the_facts_table(timesteps, v0, db, over_sigma):
    best = maximise_sqnr(lambda w: uniform_staircase(w[0].exp(), timesteps, v0), [0.0])
    assert best.sqnr_db == pytest.approx(db, abs=0.006)
    if over_sigma:
        assert best.levels[-1].item() == pytest.approx(over_sigma, abs=1e-3)


def increasing(w):
    return w.exp().cumsum(0)


@pytest.mark.parametrize(("timesteps", "db"), [(1, 7.21), (2, 10.97), (3, 13.57), (4, 15.55), (8, 20.72)])
def test_lloyd_max_of_the_facts_table(timesteps, db):
    start = [math.log(2 / timesteps)] * (2 * timesteps)
    best = maximise_sqnr(lambda w: (increasing(w[:timesteps]), increasing(w[timesteps:])), start)
    assert best.sqnr_db == pytest.approx(db, abs=0.006)
    midpoints = torch.cat([torch.zeros(1), best.levels]).unfold(0, 2, 1).mean(1)
    assert best.transitions.tolist() == pytest.approx(midpoints.tolist(), abs=2e-3)  # Lloyd's first condition
    if timesteps == 4:
        assert best.levels.tolist() == pytest.approx([0.444, 0.919, 1.476, 2.255], abs=2e-3)


def test_best_nonuniform_thresholds_with_the_decodes_of_the_facts_table():
    rate = torch.arange(1, 5, dtype=torch.float64) / 4
    rate_p1 = maximise_sqnr(lambda w: (increasing(w) * 0.1, rate * increasing(w)[-1] * 0.1), [-1.0] * 4, 0.1)
    assert rate_p1.sqnr_db == pytest.approx(14.63, abs=0.006)
    assert rate_p1.transitions.tolist() == pytest.approx([0.0270, 0.0812, 0.1353, 0.2165], abs=2e-4)
    transition = maximise_sqnr(lambda w: (increasing(w), increasing(w)), [-1.0] * 4)
    assert transition.sqnr_db == pytest.approx(11.34, abs=0.006)


def test_a_staircase_without_a_rounded_quotient_would_be_seen():
    """The equality above is not vacuous: the obvious closed form, floor(T i / V_th), is wrong one ulp from a step."""
    timesteps, threshold = 20, torch.tensor(1.1)
    i = (torch.arange(1, 20) * threshold / timesteps).repeat(3)
    i[19:38], i[38:] = i[19:38].nextafter(torch.tensor(0.0)), i[38:].nextafter(torch.tensor(9.0))
    naive = (timesteps * i / threshold).floor().long()
    assert not torch.equal(naive, staircase(i, threshold, timesteps))


# --- bad input ---

X = torch.tensor([0.1, 0.2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: spike_counts(torch.tensor([1]), X),
            TypeError,
            "current of type torch.int64; allowed: a floating-point tensor",
        ),
        (lambda: spike_counts(0.5, X), TypeError, "current of type float; allowed: a floating-point tensor"),
        (lambda: spike_counts(torch.empty(0), X), ValueError, r"current \[0\]; allowed: one value or more"),
        (lambda: spike_counts(X * torch.nan, X), ValueError, "current has 2 NaN"),
        (lambda: spike_counts(X, [1.0]), TypeError, "thresholds of type list; allowed: a floating-point tensor"),
        (lambda: spike_counts(X, -X), ValueError, r"thresholds=\[-0.1.*; allowed: positive numbers, shape \[T\]"),
        (lambda: spike_counts(X, 0 * X), ValueError, "allowed: positive numbers"),
        (lambda: spike_counts(X, X * torch.nan), ValueError, "thresholds has 2 NaN"),
        (lambda: spike_counts(X, torch.ones(2, 2)), ValueError, r"shape \[T\]"),
        (
            lambda: spike_counts(X, X, v0=1.5),
            ValueError,
            r"v0=1.5; allowed: a fraction of the threshold in \[0, 1\]",
        ),
        (lambda: spike_counts(X, X, v0=math.nan), ValueError, "v0=nan; allowed"),
        (lambda: staircase(torch.tensor([1]), 1.0, 4), TypeError, "current of type torch.int64"),
        (lambda: staircase(torch.tensor([torch.inf]), 1.0, 4), ValueError, "current has 1"),
        (lambda: staircase(X, 1.0, 0), ValueError, "timesteps=0; allowed: an integer, 1 or more"),
        (lambda: staircase(X, 1.0, 4.0), ValueError, "timesteps=4.0; allowed: an integer, 1 or more"),
        (lambda: staircase(X, 0.0, 4), ValueError, "threshold=0.0; allowed: one positive finite number"),
        (lambda: staircase(X, math.nan, 4), ValueError, "threshold=nan; allowed: one positive finite number"),
        (lambda: staircase(X, math.inf, 4), ValueError, "threshold=inf; allowed: one positive finite number"),
        (lambda: staircase(X, X, 4), ValueError, r"threshold=\[0.1.*; allowed: one positive finite number"),
        (lambda: staircase(X, 1.0, 4, v0=-0.1), ValueError, "v0=-0.1; allowed"),
        (lambda: uniform_staircase(X[0], 4, v0=3), ValueError, "v0=3; allowed: a fraction of the threshold"),
        (lambda: best_uniform(GAUSSIAN, 4, v0=5.0), ValueError, "v0=5.0; allowed: a fraction of the threshold"),
        (lambda: sqnr_db(X, X[:1]), ValueError, r"x \[2\] and x_hat \[1\]; allowed: equal shapes"),
        (lambda: sqnr_db(0 * X, X), ValueError, "allowed: a signal with power"),
        (lambda: sqnr_db(X, X.int()), TypeError, "x_hat of type torch.int32; allowed: a floating-point tensor"),
        (lambda: sqnr_db(X / 0, X), ValueError, "x has 2"),
        (lambda: split_error(X, X[:1], 1.0), ValueError, "equal shapes"),
        (lambda: split_error(X.long(), X, 1.0), TypeError, "x of type torch.int64"),
        (lambda: gaussian_sqnr_db(X.flip(0), X), ValueError, r"transitions=\[0.2.*; allowed: 0 or more, increasing"),
        (lambda: gaussian_sqnr_db(-X.flip(0), X), ValueError, "allowed: 0 or more, increasing"),
        (lambda: gaussian_sqnr_db(X, X[:1]), ValueError, "shape"),
    ],
)
def test_bad_input_is_refused_by_name_value_and_what_is_allowed(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_parts_of_an_error_too_large_for_float16_are_finite_together():
    x, x_hat = torch.tensor([300.0, 1.0]).half(), torch.tensor([0.0, 1.0]).half()
    parts = split_error(x, x_hat, saturation=400.0)
    assert parts.granular.dtype == torch.float16
    assert parts.granular.item() == pytest.approx(45000, rel=1e-3)
    assert parts.overload.item() == 0


def test_staircases_are_made_where_the_thresholds_are():
    threshold = torch.empty((), device="meta")
    assert {part.device.type for part in uniform_staircase(threshold, 4)} == {"meta"}
    assert count_staircase(torch.empty(4, device="meta")).transitions.device.type == "meta"


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_deviation_is_positive(sigma):
    transitions, levels = uniform_staircase(torch.tensor(1.0), 4)
    with pytest.raises(ValueError, match=rf"sigma={sigma}; allowed: a positive number"):
        gaussian_sqnr_db(transitions, levels, sigma)


def test_what_is_left_of_a_tiny_current_is_kept():
    tiny = torch.tensor([1e-9], dtype=torch.float64)
    assert spike_counts(tiny, torch.tensor([1.0, 2e-9], dtype=torch.float64), v0=1.0).item() == 2
    far = torch.tensor([1e-20], dtype=torch.float64)
    assert spike_counts(far, torch.tensor([1.0, 2e-20], dtype=torch.float64), v0=1.0).item() == 2
