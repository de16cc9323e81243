"""The neurons are SpikingJelly's where it has them, count exactly, and learn by the gradients of Eqs 9-12."""

import copy
import io
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import base, functional, layer, monitor, neuron, surrogate
from torch import nn
from torch.testing import assert_close

from atif_lib.neurons.atif import IF, ATIFnu, ATIFu, SafeATIFnu
from atif_lib.neurons.quantized_relu import QuantizedReLU
from atif_lib.quantization.staircases import realises
from atif_lib.quantization.uniform import spike_counts

KINDS = {"IF": IF, "ATIFu": ATIFu, "ATIFnu": ATIFnu, "printed": partial(ATIFnu, form="printed")}
LEARNED = ["ATIFu", "ATIFnu", "printed"]
BOUNDED = {kind: KINDS[kind] for kind in LEARNED} | {"safe": SafeATIFnu}
ANY_T = ["IF", "ATIFu", "ATIFnu"]
SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)  # [N, *]
SEEDS = st.integers(0, 2**32 - 1)
OPTIONS = st.fixed_dictionaries(
    {
        "v0": st.sampled_from([0.0, 0.5, 1.0]),
        "surrogate": st.sampled_from(["relative", "absolute"]),
        "slope": st.sampled_from([1.0, 4.0]),
        "detach_reset": st.booleans(),
    }
)


def noise(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def run(node, x_seq):
    """Feed [T, N, *] to a neuron at rest, in its step mode."""
    functional.reset_net(node)
    return node(x_seq) if node.step_mode == "m" else torch.stack([node(x) for x in x_seq])


def spikes_and_gradients(node, x_seq):
    """Spikes, and the gradients of a weighted sum of them: the input's, the parameters'. None is allowed to lack."""
    x_seq = x_seq.clone().requires_grad_()
    z = run(node, x_seq)
    loss = (z * noise(z.shape, 1).to(z)).sum()
    return z.detach(), *torch.autograd.grad(loss, [x_seq, *node.parameters()])


def threshold_for(channels):
    """One threshold, or one for each of some channels."""
    return torch.linspace(0.5, 1.5, channels or 1, dtype=torch.float64)[slice(None) if channels else 0]


def set_p(node, p):
    p = torch.tensor(p, dtype=torch.float64)
    node.log_steps = nn.Parameter((p - torch.cat([p[1:], torch.zeros(1)])).log())
    return node


# --- the same neuron elsewhere: SpikingJelly, the other step mode, the exact counts ---


@given(SHAPES, st.integers(1, 6), st.sampled_from([0.5, 1.0, 3.0]), OPTIONS, st.sampled_from("sm"), SEEDS)
def test_IF_is_the_soft_reset_node_of_spikingjelly(shape, timesteps, threshold, options, mode, seed):
    options |= {"v0": 0.0, "surrogate": "absolute"}
    ours = IF(timesteps, threshold, step_mode=mode, **options)
    sigmoid = surrogate.Sigmoid(alpha=options["slope"])
    theirs = neuron.IFNode(threshold, None, sigmoid, options["detach_reset"], step_mode=mode)
    x_seq = noise((timesteps, *shape), seed, torch.float32).mul(16).round() / 8  # some land on the threshold
    (z, gradient), (z_theirs, gradient_theirs) = (spikes_and_gradients(node, x_seq) for node in (ours, theirs))
    assert torch.equal(z, z_theirs)
    assert_close(gradient, gradient_theirs)
    assert_close(ours.v, theirs.v)


@given(st.sampled_from(ANY_T), SHAPES, st.integers(1, 6), st.booleans(), OPTIONS, SEEDS)
def test_step_modes_agree(kind, shape, timesteps, per_channel, options, seed):
    threshold = threshold_for(shape[1] if per_channel and len(shape) > 1 else 0)
    node = KINDS[kind](timesteps, threshold, **options)
    x_seq = noise((timesteps, *shape), seed)
    one_by_one = spikes_and_gradients(node, x_seq)
    functional.set_step_mode(node, "m")
    assert_close(spikes_and_gradients(node, x_seq), one_by_one)
    assert one_by_one[0].shape == x_seq.shape
    assert set(one_by_one[0].unique().tolist()) <= {0.0, 1.0}


@given(
    st.sampled_from(ANY_T),
    st.lists(st.lists(st.integers(1, 32), min_size=2, max_size=2), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from("sm"),
)
def test_constant_currents_are_counted_as_in_exact_arithmetic(kind, steps, v0, per_channel, mode):
    """All numbers are binary fractions, so that nothing rounds; the logarithm of a learned threshold may, so that
    its currents keep off the transitions."""
    steps = torch.tensor(steps, dtype=torch.float64)[:, slice(None) if per_channel else 0] / 64
    node = KINDS[kind](len(steps), steps[0], v0=v0, step_mode=mode)
    if kind == "ATIFnu":
        node.log_steps = nn.Parameter(steps.log())
    current = torch.arange(-64, 128, dtype=torch.float64) / 128 + (0 if kind == "IF" else 2**-12)
    image = current.view(4, 1, 6, 8).expand(-1, 2, -1, -1)  # [N, C, H, W]
    counts = run(node, image.expand(len(steps), *image.shape)).sum(0)
    for channel in range(2):
        thresholds = node.thresholds.detach()
        thresholds = thresholds[:, channel] if per_channel else thresholds
        assert torch.equal(counts[:, channel], spike_counts(image[:, channel], thresholds, v0).double())


# --- a learned start, and spikes that carry their charge ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", "sm")
def test_a_learned_start_begins_at_v0_and_moves_the_transitions(kind, mode):
    fixed, learned = (KINDS[kind](v0=0.25, learn_v0=learn, step_mode=mode) for learn in (False, True))
    x_seq = noise((4, 50, 3), dtype=torch.float32)
    assert torch.equal(run(fixed, x_seq), run(learned, x_seq))
    assert learned.v0.item() == fixed.v0 == 0.25
    nn.init.constant_(learned.logit_v0, 2.0)
    moved = KINDS[kind](v0=learned.v0.item(), step_mode=mode)
    assert_close(run(learned, x_seq), run(moved, x_seq))
    assert run(learned, x_seq).sum() > run(fixed, x_seq).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("mode", "sm")
def test_a_spike_carries_the_charge_that_it_takes_from_the_membrane(kind, channels, mode):
    plain, charged = (KINDS[kind](4, threshold_for(channels), v0=0.5, charge=c, step_mode=mode) for c in (False, True))
    if kind in ("ATIFnu", "printed"):
        for node in (plain, charged):
            node.log_steps.data -= torch.arange(4.0).view(4, *[1] * (node.log_steps.dim() - 1)) / 8
    x_seq = noise((4, 50, 3, 2)) + 0.2
    z, charges = run(plain, x_seq), run(charged, x_seq)
    thresholds = plain.thresholds.view(4, 1, -1, 1)
    assert_close(charges, thresholds * z)
    assert_close(plain.v, charged.v)
    start = 0.5 * plain.thresholds[0].view(-1, 1)
    assert_close(charges.sum(0), x_seq.sum(0) + start - charged.v)  # Eq. 5: what came in less what is left
    assert_close(charged.decode(charges), charges.mean(0))
    if kind in ("IF", "ATIFu"):
        assert_close(charged.decode(charges), plain.decode(z))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v0", [0.0, 1.0])
def test_a_start_at_a_bound_cannot_be_learned(kind, v0):
    with pytest.raises(ValueError, match=f"v0={v0}; allowed: between 0 and 1, both excluded, to be learned"):
        KINDS[kind](v0=v0, learn_v0=True)


# --- gradients ---


@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.5])
def test_of_one_width_the_two_surrogates_differ_in_the_gradient_of_the_threshold_alone(threshold):
    """An absolute slope of α / V_th is a relative one of α; the threshold's gradient lacks the factor H / V_th."""
    found = {}
    for argument, slope in (("relative", 4.0), ("absolute", 4.0 / threshold)):
        node = ATIFu(1, threshold, surrogate=argument, slope=slope, step_mode="m").double()
        current = (threshold * (1 + noise((1, 50)))).requires_grad_()
        weights = noise((1, 50), seed=1)
        spikes = node(current)
        gradient = torch.autograd.grad((weights * spikes).sum(), (current, node.log_threshold), retain_graph=True)
        found[argument] = gradient
        if argument == "absolute":
            by_membrane = gradient[0] * (current / threshold)
    assert_close(found["relative"][0], found["absolute"][0])
    assert_close(found["absolute"][1], -threshold * found["absolute"][0].sum().reshape(found["absolute"][1].shape))
    assert_close(found["relative"][1], -threshold * by_membrane.sum().reshape(found["relative"][1].shape))


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize("argument", ["relative", "absolute"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("options", [{}, {"learn_v0": True}, {"charge": True}])
def test_gradients_are_the_finite_differences_of_the_smoothed_neuron(kind, argument, channels, options):
    """With the sigmoid itself in place of the step there is a true gradient to compare with."""
    node = KINDS[kind](4, threshold_for(channels), v0=0.5, surrogate=argument, slope=2.0, step_mode="m", **options)
    node.surrogate_function.set_spiking_mode(False)
    parameters = {name: (p + 0.1 * noise(p.shape)).requires_grad_() for name, p in node.named_parameters()}

    def smoothed(x_seq, *values):
        functional.reset_net(node)
        return torch.func.functional_call(node, dict(zip(parameters, values, strict=True)), x_seq)

    x_seq = noise((4, 2, 3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(smoothed, (x_seq, *parameters.values()))


@given(st.integers(1, 6), OPTIONS, SEEDS)
def test_threshold_gradient_is_eqs_9_to_12_by_hand(timesteps, options, seed):
    """Eqs 2-5 differentiated by V_th in the forward direction, one sample."""
    threshold, slope = 0.7, options["slope"]
    x_seq = noise((timesteps, 1), seed)
    v, dv, by_hand = options["v0"] * threshold, options["v0"], []
    for x in x_seq.flatten().tolist():
        h, dh = v + x, dv
        z, q, dq = float(h >= threshold), h - threshold, dh - 1
        if options["surrogate"] == "relative":
            q, dq = h / threshold - 1, dh / threshold - h / threshold**2
        sigmoid = 1 / (1 + math.exp(-slope * q))
        dz = slope * sigmoid * (1 - sigmoid) * dq
        v, dv = h - threshold * z, dh - z - (0 if options["detach_reset"] else threshold * dz)
        by_hand.append(dz)
    node = ATIFu(timesteps, torch.tensor(threshold, dtype=torch.float64), step_mode="m", **options)
    z, _, gradient = spikes_and_gradients(node, x_seq)
    expected = threshold * (noise(z.shape, 1).flatten() * torch.tensor(by_hand, dtype=torch.float64)).sum()
    assert_close(gradient, expected)  # by w = ln V_th


def test_a_parameter_as_threshold_of_spikingjelly_trains_nothing():
    """Why ATIFu is a neuron of its own. When this fails, SpikingJelly has changed: see chapter 3."""
    node = neuron.IFNode(v_reset=None, step_mode="m")
    node.v_threshold = nn.Parameter(torch.tensor(1.0))
    node(torch.ones(4, 1, requires_grad=True)).sum().backward()
    assert node.v_threshold.grad is None


# --- laws of the thresholds ---


@given(SHAPES, st.integers(1, 12), OPTIONS, SEEDS)
def test_ATIFnu_with_uniform_p_is_ATIFu(shape, timesteps, options, seed):
    threshold, x_seq = torch.tensor(0.7, dtype=torch.float64), noise((timesteps, *shape), seed)
    nonuniform, uniform = (kind(timesteps, threshold, step_mode="m", **options) for kind in (ATIFnu, ATIFu))
    assert_close(nonuniform.p, threshold * torch.arange(timesteps, 0, -1) / timesteps)
    assert_close(nonuniform.thresholds, uniform.thresholds)
    z, x_gradient, steps_gradient = spikes_and_gradients(nonuniform, x_seq)
    # All steps together scale the one threshold.
    assert_close((z, x_gradient, steps_gradient.sum()), spikes_and_gradients(uniform, x_seq))


@pytest.mark.parametrize(
    ("form", "p", "thresholds"),
    [
        ("printed", [1.0, 0.75, 0.5, 0.25], [1.0, 1.25, 1.0, 1.0]),  # where Eq. 19 parts from the uniform case
        ("printed", [1.0, 0.7, 0.4, 0.1], [1.0, 3 * 0.7 - 4 * 0.3, 1.2, 0.4]),
        ("printed", [1.0, 0.8, 0.75, 0.05], [1.0, 0.01, 2.8, 0.2]),  # Eq. 19 gives -0.4: held at p_1 / 100
        ("telescoping", [1.0, 0.7, 0.4, 0.1], [1.0, 1.2, 1.2, 0.4]),
        ("telescoping", [1.0, 0.7, 0.1], [1.0, 3 * 0.6, 0.3]),
        ("telescoping", [0.6], [0.6]),
    ],
)
def test_thresholds_of_ATIFnu_by_hand(form, p, thresholds):
    node = set_p(ATIFnu(len(p), form=form), p)
    assert node.p.tolist() == pytest.approx(p)
    assert node.thresholds.tolist() == pytest.approx(thresholds)


def test_the_printed_form_of_the_uniform_case_steps_where_the_facts_say():
    i = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000
    counts = run(KINDS["printed"](4, torch.tensor(1.0).double(), step_mode="m"), i.expand(4, -1)).sum(0)
    transitions = [i[counts >= k][0].item() for k in range(1, 5)]
    assert transitions == pytest.approx([0.25, 0.5, 0.8125, 1.125], abs=1e-3)


@given(st.sampled_from([*BOUNDED]), st.data(), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_thresholds_stay_positive_and_p_ordered_wherever_an_update_leads(kind, data, dtype):
    node = BOUNDED[kind](4).to(dtype)
    (w,) = node.parameters()
    values = st.lists(st.floats(-20, 20) | st.floats(allow_nan=False), min_size=w.numel(), max_size=w.numel())
    w.data = torch.tensor(data.draw(values), dtype=torch.float64).to(dtype).view_as(w)
    assert ((node.thresholds > 0) & node.thresholds.isfinite()).all()
    if kind != "ATIFu":
        assert (node.p > 0).all()
        assert (node.p.diff() <= 0).all()  # equal where one step is lost in the rounding of another


@pytest.mark.parametrize("kind", BOUNDED)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
@pytest.mark.parametrize("lr", [1e4, 1e30])
def test_absurd_steps_leave_a_neuron_that_works(kind, optimizer, lr):
    node = BOUNDED[kind](4, step_mode="m")
    descent = optimizer(node.parameters(), lr=lr)
    x_seq = noise((4, 100), 0, torch.float32)
    for _ in range(5):
        z = run(node, x_seq)
        descent.zero_grad()
        node.decode(z).square().sum().backward()
        descent.step()
    assert ((node.thresholds > 0) & node.thresholds.isfinite()).all()
    assert run(node, x_seq).isfinite().all()


# --- dtypes and decode ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of_input", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_threshold", [torch.bfloat16, torch.float32, torch.float64])
def test_the_membrane_is_kept_in_the_wider_dtype_and_spikes_in_that_of_the_input(kind, of_input, of_threshold):
    node, wider = KINDS[kind](step_mode="m").to(of_threshold), torch.promote_types(of_input, of_threshold)
    x_seq = noise((4, 2, 3), 0, of_input)
    z, gradient, *_ = spikes_and_gradients(node, x_seq)
    assert (z.dtype, gradient.dtype, node.v.dtype) == (of_input, of_input, wider)
    assert node.decode(z).dtype == wider
    assert torch.equal(z, run(node.to(wider), x_seq.to(wider)).to(of_input))
    functional.set_step_mode(node.to(of_threshold), "s")
    assert torch.equal(z, run(node, x_seq))


def run_network(network, x_seq):
    functional.reset_net(network)
    return network(x_seq)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    network = nn.Sequential(layer.Conv2d(1, 2, 3, step_mode="m"), KINDS[kind](threshold=0.1, step_mode="m"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = run_network(network, noise((4, 2, 1, 5, 5), 0, torch.float32))
    z.float().sum().backward()
    assert z.dtype == torch.bfloat16
    assert network[1].v.dtype == torch.float32
    assert all(p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_decode_by_hand(dtype):
    z = torch.tensor([[[0, 1, 1]], [[1, 1, 0]], [[0, 1, 1]], [[0, 1, 1]]], dtype=dtype)  # [T, N, C]
    thresholds = torch.tensor([1.0, 0.3, 2.0])
    assert_close(IF(threshold=0.3).decode(z), torch.tensor([[0.075, 0.3, 0.225]]), check_dtype=False)
    assert_close(ATIFu(threshold=thresholds).decode(z), torch.tensor([[0.25, 0.3, 1.5]]), check_dtype=False)
    node = set_p(ATIFnu(), [0.8, 0.3, 0.2, 0.1])  # the scale is p_1
    assert_close(node.decode(z), torch.tensor([[0.2, 0.8, 0.6]]), check_dtype=False)


# --- a citizen of SpikingJelly and of torch ---


@pytest.fixture(params=list(KINDS))
def network(request):
    torch.manual_seed(0)
    node = KINDS[request.param](4, torch.tensor([0.2, 0.4, 0.6]), v0=0.5)
    network = nn.Sequential(layer.Conv2d(1, 3, 3), layer.BatchNorm2d(3), node)
    functional.set_step_mode(network, "m")
    return network


X_SEQ = noise((4, 2, 1, 5, 5), 0, torch.float32)


def test_reset_step_modes_and_monitors_of_spikingjelly(network):
    network.eval()
    assert network[-1].step_mode == "m"
    with monitor.OutputMonitor(network, base.MemoryModule) as seen:
        z = run_network(network, X_SEQ)
        assert torch.equal(seen["2"][0], z)
    assert network[-1].t == 4
    assert torch.equal(run_network(network, X_SEQ), z)  # as if nothing had come before
    functional.reset_net(network)
    assert (network[-1].v, network[-1].t) == (None, 0)
    functional.set_step_mode(network, "s")
    assert torch.equal(torch.stack([network(x) for x in X_SEQ]), z)


def test_detach_net_cuts_the_gradient_through_the_membrane(network):
    functional.set_step_mode(network.eval(), "s")
    x = X_SEQ[0].clone().requires_grad_()
    network(x)
    functional.detach_net(network)
    assert not network[-1].v.requires_grad
    assert torch.autograd.grad(network(X_SEQ[1]).sum(), x, allow_unused=True) == (None,)


def through_a_file(save, load):
    def make(network):
        file = io.BytesIO()
        save(network, file)
        file.seek(0)
        return load(file)

    return make


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda network: pickle.loads(pickle.dumps(network)),
        through_a_file(torch.save, partial(torch.load, weights_only=False)),
    ],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_a_copy_goes_on_where_the_original_stands_and_shares_nothing(network, duplicate):
    functional.set_step_mode(network.eval(), "s")
    network(X_SEQ[0])  # leaves a membrane with autograd history
    twin = duplicate(network)
    v = network[-1].v
    assert v.requires_grad  # copying did not cut the original's history
    assert (network[-1].t, twin[-1].t) == (1, 1)
    assert torch.equal(twin(X_SEQ[1]), network(X_SEQ[1]))
    functional.reset_net(twin)
    assert network[-1].t == 2
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert ours.data_ptr() != theirs.data_ptr()


def test_state_dict_round_trip(network):
    other = copy.deepcopy(network)
    for value in other.state_dict().values():
        value.mul_(2) if value.is_floating_point() else value.add_(1)
    before = run_network(network.eval(), X_SEQ)
    assert not torch.equal(run_network(other.eval(), X_SEQ), before)
    run_network(network, X_SEQ)  # a live membrane is no part of it
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(run_network(other, X_SEQ), before)


def test_moves_with_its_membrane(network):
    functional.set_step_mode(network.eval(), "s")
    network(X_SEQ[0])
    network.double()
    assert network[-1].v.dtype == network[-1].thresholds.dtype == torch.float64
    network.to("meta")
    assert network(X_SEQ[1].double().to("meta")).device.type == network[-1].v.device.type == "meta"


def compiles(backend):
    if backend == "inductor":
        try:
            torch.compile(lambda x: x + 1)(torch.ones(1))
        except RuntimeError as error:  # torch names no public exception for it
            pytest.skip(f"no C++ compiler that torch can use: {error}")
    return backend


@pytest.mark.parametrize(
    ("kind", "mode", "backend"),
    [*((kind, mode, "aot_eager") for kind in KINDS for mode in "sm"), ("printed", "m", "inductor")],
)
def test_compiled_whole_it_is_the_same_neuron(kind, mode, backend):
    torch.compiler.reset()
    eager = KINDS[kind](4, threshold_for(3), v0=0.5, learn_v0=True, charge=True, step_mode=mode)
    compiled = copy.deepcopy(eager)
    compiled.compile(fullgraph=True, backend=compiles(backend))
    for seed in range(2):
        x_seq = noise((4, 2, 3, 5), seed)
        assert_close(spikes_and_gradients(compiled, x_seq), spikes_and_gradients(eager, x_seq))
    torch.compiler.reset()


def test_a_copy_of_a_compiled_neuron_is_itself():
    node = ATIFu(4, step_mode="m")
    node.compile(backend="eager")
    twin = pickle.loads(pickle.dumps(copy.deepcopy(node)))
    twin.log_threshold.data.fill_(math.log(3))
    assert twin(torch.full((4, 1), 1.0)).sum() == 1
    assert node.t == 0
    assert node(torch.full((4, 1), 1.0)).sum() == 4
    torch.compiler.reset()


def test_print_shows_the_options():
    shown = repr(ATIFnu(3, v0=0.5, surrogate="absolute", slope=2.0, detach_reset=True, step_mode="m"))
    for option in (
        "timesteps=3",
        "v0=0.5",
        "learn_v0=False",
        "charge=False",
        "surrogate='absolute'",
        "alpha=2.0",
        "detach_reset=True",
        "step_mode='m'",
    ):
        assert option in shown


# --- bad input ---

X = torch.zeros(4, 2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda kind: kind(0), ValueError, "timesteps=0; allowed: an integer, 1 or more"),
        (lambda kind: kind(4.0), ValueError, "timesteps=4.0; allowed: an integer, 1 or more"),
        (lambda kind: kind(threshold=0.0), ValueError, "threshold=0.0"),
        (lambda kind: kind(threshold=math.nan), ValueError, "threshold=nan"),
        (lambda kind: kind(threshold=math.inf), ValueError, "threshold=inf"),
        (
            lambda kind: kind(threshold=torch.tensor([1.0, -2.0])),
            ValueError,
            r"=\[1.0, -2.0\]; allowed: a positive",
        ),
        (lambda kind: kind(threshold=torch.ones(2, 2)), ValueError, "threshold=.* number, or one for each channel"),
        (lambda kind: kind(threshold=torch.ones(0)), ValueError, r"threshold=\[\]; allowed"),
        (lambda kind: kind(v0=-0.1), ValueError, r"v0=-0.1; allowed: a fraction of the threshold in \[0, 1\]"),
        (lambda kind: kind(v0=math.nan), ValueError, "v0=nan; allowed"),
        (
            lambda kind: kind(surrogate="atan"),
            ValueError,
            "surrogate='atan'; allowed: 'relative', 'absolute', 'rate'",
        ),
        (lambda kind: kind(v0=0.5, learn_v0="no"), ValueError, "learn_v0='no'; allowed: True, False"),
        (lambda kind: kind(charge=1), ValueError, "charge=1; allowed: True, False"),
        (lambda kind: kind(detach_reset=None), ValueError, "detach_reset=None; allowed: True, False"),
        (lambda kind: kind(threshold=torch.tensor(True)), ValueError, r"threshold=tensor\(True\); allowed"),
        (lambda kind: kind(threshold=torch.tensor(1j)), ValueError, r"threshold=tensor\(0.\+1.j\); allowed"),
        (lambda kind: kind(slope=0.0), ValueError, "slope=0.0; allowed: a positive, finite number"),
        (lambda kind: kind(slope=math.nan), ValueError, "slope=nan; allowed: a positive, finite number"),
        (lambda kind: kind(slope=math.inf), ValueError, "slope=inf; allowed: a positive, finite number"),
        (lambda kind: kind(step_mode="x"), ValueError, """step_mode can only be .'s', 'm'., but got "x\""""),
        (lambda kind: kind(step_mode="m")(X[:3]), ValueError, r"input \[3, 2, 3\]; allowed: \[T=4, N, \*\]"),
        (lambda kind: kind(step_mode="m")(X[0, 0, 0]), ValueError, r"input \[\]; allowed: \[T=4, N, \*\]"),
        (lambda kind: kind(step_mode="m")(X.int()), TypeError, "input of type torch.int32; allowed: floating point"),
        (lambda kind: kind()(X[0].bool()), TypeError, "input of type torch.bool; allowed: floating point"),
        (lambda kind: kind(step_mode="m")(X[:, :0]), ValueError, r"input \[4, 0, 3\]; allowed: one value or more"),
        (lambda kind: kind()(X[0] * torch.nan), ValueError, "input has 6 NaN or infinite values"),
        (
            lambda kind: kind(threshold=torch.ones(2), step_mode="m")(X),
            ValueError,
            r"input \[4, 2, 3\]; allowed: \[T, N, C=2, \*\]",
        ),
        (lambda kind: kind(threshold=torch.ones(3))(X[0, 0]), ValueError, r"input \[3\]; allowed: .*C=3"),
        (
            lambda kind: kind(threshold=torch.ones(2)).decode(X),
            ValueError,
            r"spikes \[4, 2, 3\]; allowed: \[T, N, C=2, \*\]",
        ),
        (lambda kind: kind().decode(X[:3]), ValueError, r"spikes \[3, 2, 3\]; allowed: \[T=4, N, \*\]"),
        (lambda kind: kind().decode(X[:, 0, 0]), ValueError, r"spikes \[4\]; allowed: \[T=4, N, \*\]"),
    ],
)
@pytest.mark.parametrize("kind", ANY_T)
def test_bad_input_is_refused_by_name_value_and_what_is_allowed(kind, call, error, message):
    with pytest.raises(error, match=message):
        call(KINDS[kind])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ATIFu(threshold=1e-9), r"threshold=9.99.*e-10; allowed: between 1e-06 and 1e\+06, to be learned"),
        (
            lambda: ATIFnu(threshold=torch.tensor([1.0, 8e6])),
            r"=\[1.0, 8.*\]; allowed: between 4e-06 and 4e\+06",
        ),
        (lambda: SafeATIFnu(threshold=2e6), r"threshold=2.*; allowed: between 1e-06 and 1e\+06, to be learned"),
        (lambda: ATIFnu(form="eq19"), "form='eq19'; allowed: 'telescoping', 'printed'"),
        (lambda: ATIFnu(3, form="printed"), "form='printed' with 3 timesteps; allowed: 4"),
    ],
)
def test_bad_thresholds_of_learned_neurons(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", ANY_T)
@pytest.mark.parametrize("mode", "sm")
def test_a_timestep_past_the_last_asks_for_a_reset(kind, mode):
    node = KINDS[kind](4, step_mode=mode)
    run(node, X)
    with pytest.raises(ValueError, match=r"timestep \d is past timesteps=4: call functional.reset_net between inputs"):
        node(X if mode == "m" else X[0])
    assert node.t == 4  # a refused call changes nothing
    functional.reset_net(node)
    node(X if mode == "m" else X[0])


# --- the gradient of the rate ---


@pytest.mark.parametrize("v0", [0.0, 0.5])
def test_the_rate_s_gradient_is_the_quantized_twin_s_and_the_spikes_are_the_neuron_s(v0):
    current = torch.linspace(-1, 2.5, 50, dtype=torch.double).requires_grad_()
    node, usual = (ATIFu(4, 1.5, v0=v0, surrogate=kind, step_mode="m").double() for kind in ("rate", "relative"))
    twin = QuantizedReLU(4, 1.5, v0).double()
    spikes = node(current.expand(4, 1, 50))
    assert torch.equal(spikes, usual(current.expand(4, 1, 50)))
    weights = torch.linspace(-1, 1, 50, dtype=torch.double)
    parameters = [(node, spikes.mean(0)[0]), (twin, twin(current))]
    found, expected = (
        torch.autograd.grad((weights * rate).sum(), [current, m.log_threshold]) for m, rate in parameters
    )
    torch.testing.assert_close(found, expected)
    assert (found[0] != 0).sum() > 10


def test_the_rate_s_gradient_counts_each_spike_of_an_uneven_train():
    x = torch.tensor([0.9, 0.0, 0.7, 0.0]).view(4, 1, 1).requires_grad_()
    spikes = ATIFu(4, surrogate="rate", step_mode="m")(x)
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
    (spikes.flatten() * torch.tensor([1.0, 2.0, 4.0, 8.0])).sum().backward()
    assert x.grad.flatten().tolist() == [15 / 4] * 4  # each input is a quarter of the mean, which moves all spikes


def test_the_rate_needs_all_timesteps_and_one_threshold():
    with pytest.raises(ValueError, match="step_mode='s' with surrogate='rate'; allowed: 'm'"):
        ATIFu(4, surrogate="rate")(torch.ones(1, 1))
    with pytest.raises(ValueError, match=r"surrogate='rate'; allowed: .* ATIFnu has T thresholds"):
        ATIFnu(4, surrogate="rate")


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_thresholds_of_the_safe_region_step_up_at_their_transitions(threshold):
    node = SafeATIFnu(threshold=threshold, step_mode="m")
    assert node.thresholds[0].item() == pytest.approx(threshold, rel=0.15)
    torch.manual_seed(0)
    for _ in range(50):
        node.region.data = 2 * torch.randn(5)
        thresholds, p = node.thresholds.detach().double(), node.p.detach().double()
        assert realises(thresholds, p.flip(0), tolerance=1e-5 * thresholds.max().item())
    node(torch.rand(4, 3, 2)).sum().backward()
    assert node.region.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"timesteps": 3}, {"v0": 0.5}, {"surrogate": "rate"}])
def test_the_safe_region_is_that_of_four_timesteps_from_zero(options):
    with pytest.raises(ValueError, match="allowed: 4, 0, 'relative' or 'absolute'"):
        SafeATIFnu(**options)


@pytest.mark.parametrize(("current", "slope"), [(2.0, 1.0), (0.6, -0.1)])
def test_a_charge_keeps_its_own_gradient_beside_that_of_the_rate(current, slope):
    """With V_th = 1 and T = 4: d/dlog V of V k(x / V) / 4, the rounding straight through, is k / 4 - x below 1."""
    node = ATIFu(4, surrogate="rate", charge=True, step_mode="m")
    node(torch.full((4, 1), current)).mean().backward()
    assert node.log_threshold.grad.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("threshold", "shown"), [(torch.tensor([1.0, 5.0]), r"\[1.0, 5.0"), (torch.ones(3), r"\[1.0")])
def test_the_safe_neuron_has_one_threshold_for_the_layer(threshold, shown):
    with pytest.raises(ValueError, match=rf"threshold={shown}.*; allowed: one positive number for the whole layer"):
        SafeATIFnu(4, threshold)


@pytest.mark.parametrize("threshold", [2.0, 2e-6, 5e5])
def test_the_safe_neuron_starts_near_the_uniform_one(threshold):
    node = SafeATIFnu(4, threshold, step_mode="m")
    first, *_, last = node.thresholds.tolist()
    assert last == pytest.approx(threshold, rel=1e-5)
    assert first / last == pytest.approx(1.12, abs=0.01)
    node.thresholds[0].backward()
    assert (node.region.grad != 0).all(), "none starts at a bound"


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("value", [-math.inf, -200.0, 100.0, math.inf])
def test_any_value_of_the_safe_neuron_is_safe(place, value):
    node = SafeATIFnu(4, torch.tensor(1.0, dtype=torch.float64))
    node.region.data[place] = value
    thresholds = node.thresholds.detach()
    assert realises(thresholds, node.p.detach().flip(0), tolerance=1e-9 * thresholds.min().item())
    assert ((thresholds > 0) & thresholds.isfinite()).all()


@pytest.mark.parametrize("value", [None, "a", [[1.0], [2.0, 3.0]]])
def test_a_threshold_that_is_no_number_is_named(value):
    with pytest.raises(ValueError, match=r"threshold=.*; allowed: a positive, finite number, or one for each channel"):
        IF(4, value)


@pytest.mark.parametrize("threshold", [1e-6, 1e6])
def test_a_threshold_at_its_bound_can_come_back(threshold):
    for node in (ATIFu(4, threshold, step_mode="m"), ATIFnu(4, 4 * threshold if threshold < 1 else threshold)):
        (parameter,) = node.parameters()
        with torch.no_grad():
            parameter += 3 if threshold > 1 else -3
        node.thresholds.sum().backward()
        assert parameter.grad.abs().min() > 0
        assert node.thresholds.isfinite().all()
    safe = SafeATIFnu(4, 1.0)
    with torch.no_grad():
        safe.region[3] = 30.0
    safe.thresholds.sum().backward()
    assert safe.region.grad[3] > 0


def test_another_shape_before_a_reset_is_refused():
    """A membrane of one example was shared by all that came next."""
    node = IF(2, 1.0)
    node(torch.full((1, 3), 0.5))
    with pytest.raises(ValueError, match=r"input \[5, 3\] behind one of \[1, 3\]; allowed: one shape until"):
        node(torch.full((5, 3), 0.5))
    node.reset()
    node(torch.full((5, 3), 0.5))


@pytest.mark.parametrize("v", [0.9, torch.tensor(0.9), torch.full((2, 3), 0.9)])
def test_a_membrane_may_be_set_as_one_number(v):
    node = IF(1, 1.0)
    node.v = v
    assert torch.equal(node(torch.full((2, 3), 0.5)), torch.ones(2, 3))


def test_a_message_shows_the_input_as_it_was_given():
    node = ATIFu(2, torch.ones(3))
    with pytest.raises(ValueError, match=r"^input \[2, 5\]; allowed: \[N, C=3, \*\]"):
        node(torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"^input \[0, 3\]; allowed: one value or more"):
        node(torch.ones(0, 3))
    node.step_mode = "m"
    with pytest.raises(ValueError, match=r"^input \[2, 5, 1\]; allowed: \[T, N, C=3, \*\]"):
        node(torch.ones(2, 5, 1))


@pytest.mark.parametrize("v0", [1e-50, 1 - 1e-9])
def test_a_start_that_float32_cannot_tell_from_0_or_1_is_not_learned(v0):
    with pytest.raises(ValueError, match=r"v0=.*; allowed: between 0 and 1, .*, to be learned \(in float32\)"):
        ATIFu(v0=v0, learn_v0=True)
    ATIFu(v0=v0)


@pytest.mark.parametrize("kind", [IF, ATIFu, ATIFnu, SafeATIFnu])
def test_the_type_is_that_of_a_tensor_and_not_numpy_s(kind):
    for value in (1.0, np.float64(1.0), np.array(1.0)):
        assert kind(4, value).thresholds.dtype == torch.float32
    assert kind(4, torch.tensor(1.0, dtype=torch.float64)).thresholds.dtype == torch.float64
    for value in (True, 10**400):
        with pytest.raises(ValueError, match=r"threshold=.*; allowed: a positive, finite number"):
            kind(4, value)
