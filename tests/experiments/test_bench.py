"""What the benchmark compares is the same computation, counted rightly; how fast it is depends on the machine."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from tqdm import tqdm

from atif_lib.experiments import bench, runs
from atif_lib.experiments.bench import CASES, NeuronPass, TrainingStep
from atif_lib.experiments.registry import EXPERIMENTS
from atif_lib.networks.architectures import NETWORKS, cost
from atif_lib.neurons import IF

CPU = torch.device("cpu")
SAME = [("spikingjelly", "ours-eager"), ("ours-eager", "ours"), ("ours-compact", "spikingjelly")]


def step(case, timesteps=4, batch=4, network="resnet8", low=False, compiled=False):
    return TrainingStep(case, network, timesteps, batch, CPU, low=low, compiled=compiled)


@pytest.fixture
def fused(uncompiled, monkeypatch):
    """What a case would compile runs fused, by the Python of its kernels."""
    monkeypatch.setattr(torch, "compile", lambda function: function)


@pytest.mark.parametrize("cases", SAME[:2])  # a neuron alone is not compact
def test_all_neurons_with_one_threshold_are_one_neuron(cases, fused):
    one, two = (NeuronPass(case, (4, 3, 2, 5, 5), CPU, low=False) for case in cases)
    spikes = one()
    assert 0 < spikes.mean() < 1
    assert torch.equal(spikes, two())
    assert_close(two.inputs.grad, one.inputs.grad)


@pytest.mark.parametrize("cases", SAME)
def test_all_networks_with_one_neuron_have_one_loss_and_one_gradient(cases, fused):
    one, two = (step(case, compiled=True) for case in cases)
    assert_close(two(), one())
    for p, q in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert p.grad.any()
        assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-6)
    assert_close(two(), one(), rtol=1e-4, atol=1e-5)  # after an update too


def test_compiled_it_is_the_same_neuron():
    torch.compiler.reset()
    try:
        torch.compile(lambda x: x + 1)(torch.ones(1))
    except RuntimeError as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    eager, compiled = (NeuronPass("ours", (4, 2, 2, 4, 4), CPU, low=False, compiled=c) for c in (False, True))
    assert torch.equal(compiled(), eager())
    assert_close(compiled.inputs.grad, eager.inputs.grad)
    torch.compiler.reset()


def test_in_low_precision_it_is_the_same_network_nearly():
    exact, low = step("ours"), step("ours", low=True)
    assert low.inputs.is_contiguous(memory_format=torch.channels_last)
    assert_close(low(), exact(), rtol=0.05, atol=0.05)
    assert low.infer().isfinite().all()
    assert low.network.training


def test_the_relu_network_has_the_same_weights():
    shapes = [[p.shape for p in step(c, 1).network.parameters()] for c in ("relu", "ours")]
    assert shapes[0] == shapes[1]


def test_a_step_s_seed_leaves_the_caller_s_draws_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    step("relu", 1)
    assert torch.rand(1) == expected


def test_peak_memory_grows_with_timesteps_and_batch_and_repeats():
    small, long, wide = (bench.peak_memory(step("ours", *size)) for size in ((1, 4), (8, 4), (1, 32)))
    assert long > small < wide
    assert bench.peak_memory(step("ours", 1, 4)) == small


def test_peak_memory_by_hand():
    class Step:
        inputs, network, optimizer = torch.zeros(1), torch.nn.Identity(), torch.optim.SGD([torch.zeros(1)])

        def resident_bytes(self):
            return 0

        def __call__(self):
            a = torch.empty(2**20, dtype=torch.uint8)
            b = torch.empty(2**21, dtype=torch.uint8)
            del a
            torch.empty(2**19, dtype=torch.uint8)
            del b
            torch.empty(2**21, dtype=torch.uint8)

    assert bench.peak_memory(Step()) == pytest.approx(3, abs=0.01)


def test_work_by_hand():
    with bench._Traffic() as traffic:
        a = torch.zeros(10) + torch.ones(10)  # two written, two read, one written
        a.view(2, 5)
    assert traffic.bytes == 5 * 40
    one, two, three = (bench.work("resnet8", t, 2, CPU) for t in (1, 2, 3))
    for kind in ("flops", "bytes"):
        assert three[kind] - two[kind] == two[kind] - one[kind] > 0, "each timestep adds the same, the stem nothing"
    macs = cost(NETWORKS["resnet8"](lambda c, timesteps: IF(timesteps), 3), (3, 32, 32)).macs
    assert 2 * 2 * 2 * macs < three["flops"] <= 3 * 2 * 2 * macs  # forward and twice that backward; images learn not


def test_rates_are_positive():
    assert all(rate > 0 for rate in bench.device_rates(CPU, 64).values())


def test_turns_are_interleaved_and_the_first_do_not_count():
    order = []
    functions = {name: (lambda name=name: order.append(name)) for name in ("ours", "relu")}
    with tqdm(disable=True) as bar:
        times = bench.interleaved(functions, 3, CPU, bar)
    assert order == ["ours", "relu"] * 5
    assert {name: len(ts) for name, ts in times.items()} == {"ours": 3, "relu": 3}


def test_summary_by_hand():
    found = bench.summary({"ours": [1.0, 2.0, 4.0], "relu": [2.0, 2.0, 2.0]})
    assert found["median_s"] == {"ours": 2.0, "relu": 2.0}
    assert found["min_s"] == {"ours": 1.0, "relu": 2.0}
    assert found["over_ours"] == {"ours": 1.0, "relu": 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step("theirs"), "case='theirs'; allowed: 'relu', "),
        (lambda: NeuronPass("theirs", (4, 1), CPU), "case='theirs'; allowed: 'relu', "),
        (lambda: step("relu", network="resnet9"), "network='resnet9'; allowed: 'vgg16', "),
        (lambda: step("relu", 0), "timesteps=0; allowed: an integer, 1 or more"),
        (lambda: step("relu", batch=1), "batch=1; allowed: an integer, 2 or more"),
        (lambda: bench.interleaved({}, 0, CPU, None), "repeats=0; allowed: an integer, 1 or more"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_full_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="profile 'full' of speed needs a GPU"):
        EXPERIMENTS["speed"].at("full")


def test_the_record_has_every_case_and_every_size(results, monkeypatch):
    from atif_lib.experiments import speed

    monkeypatch.setattr(speed, "STEPS", ("relu", "spikingjelly", "ours", "ours-compact"))
    record = runs.run("speed", "smoke")
    config, result = record.config, record.result
    assert set(result) == {
        "neuron",
        "step",
        "inference",
        "other",
        "float32",
        "timesteps",
        "batch",
        "roofline",
        "precision",
    }
    assert list(result["inference"]["median_s"]) == list(speed.STEPS)
    for other in ("other", "float32"):
        assert list(result[other]["over_t_relu"]) == list(speed.OTHERS)
    assert set(result["neuron"]["median_s"]) == set(speed.NEURONS)
    for key in ("median_s", "min_s", "over_ours", "peak_mib", "over_t_relu"):
        assert list(result["step"][key]) == list(speed.STEPS)
    assert result["step"]["over_ours"]["ours"] == 1
    for key, values in (("timesteps", config["growing_timesteps"]), ("batch", config["batches"])):
        assert result[key]["values"] == values
        for kind in ("median_s", "peak_mib"):
            assert {case: len(ns) for case, ns in result[key][kind].items()} == dict.fromkeys(speed.GROWING, 2)
    peaks = result["batch"]["peak_mib"]
    assert all(small < large for small, large in peaks.values())
    assert all(value > 0 for value in result["roofline"].values())
    assert set(speed.NEURONS) | set(speed.STEPS) <= set(CASES)


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_a_profile_keeps_what_was_set(profile):
    changed = replace(EXPERIMENTS["speed"], compiled=False, growing="small").at(profile)
    assert (changed.compiled, changed.growing) == (False, "small")
