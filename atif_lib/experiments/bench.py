"""How long a training step takes and how much memory, against SpikingJelly's neuron and against the ReLU network."""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple, cast

import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from atif_lib import checks
from atif_lib.networks.architectures import NETWORKS
from atif_lib.neurons.atif import IF, ATIFu
from atif_lib.training.execution import compile_neurons, has_bfloat16, save_memory

__all__ = [
    "CASES",
    "Case",
    "NeuronPass",
    "TrainingStep",
    "device_rates",
    "interleaved",
    "peak_memory",
    "summary",
    "work",
]

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reports each start and stop on standard error


class Case(NamedTuple):
    """What is measured: an activation, and how it runs. ``fast`` allows bfloat16 and channels-last."""

    activation: Callable[[int], nn.Module]
    compiled: bool = False
    fast: bool = True
    compact: bool = False


def _spikingjelly(timesteps: int) -> nn.Module:
    return neuron.IFNode(v_reset=None, step_mode="m")  # v_reset=None is the soft reset; on a GPU it runs on Triton


def _ours(timesteps: int) -> nn.Module:
    return IF(timesteps, surrogate="absolute", step_mode="m")  # the same neuron: same threshold, surrogate and slope


CASES = {
    "relu": Case(lambda timesteps: nn.ReLU()),
    "spikingjelly": Case(_spikingjelly, fast=False),  # as its documentation uses it
    "spikingjelly-best": Case(_spikingjelly, compiled=True),
    "ours-eager": Case(_ours),
    "ours": Case(_ours, compiled=True),
    "ours-compact": Case(_ours, compiled=True, compact=True),
    "atif-u": Case(lambda timesteps: ATIFu(timesteps, step_mode="m"), compiled=True),
}


class NeuronPass:
    """Forward and backward pass of a lone neuron for standard normal currents, [T, N, *]; see `TrainingStep`."""

    def __init__(
        self, case: str, shape: Sequence[int], device: torch.device, *, low: bool = True, compiled: bool = True
    ) -> None:
        how, generator = _case(case), torch.Generator().manual_seed(0)
        self.network = nn.Sequential(how.activation(shape[0])).to(device)
        dtype = torch.bfloat16 if how.fast and low else torch.float32
        self.inputs = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        self.gradient = torch.randn(shape, generator=generator).to(device, dtype)
        if how.compiled and compiled:
            _compile(self.network)

    def __call__(self) -> Tensor:
        """Return the spikes; the gradients lie in ``inputs.grad``."""
        functional.reset_net(self.network)
        self.inputs.grad = None
        spikes = self.network(self.inputs)
        spikes.backward(self.gradient)
        return spikes


class TrainingStep:
    """Forward pass, backward pass and update of a network, on one random batch of 32x32 images.

    Args:
        case: one of ``CASES``.
        network: one of ``NETWORKS``.
        timesteps: T.
        batch: images, at least 2.
        device: where it runs.
        low: bfloat16 and channels-last, for the cases that allow it; else float32.
        compiled: False leaves uncompiled what the case would compile.

    Raises:
        ValueError: an unknown case or network, a batch of less than 2, or T less than 1.
    """

    def __init__(
        self,
        case: str,
        network: str,
        timesteps: int,
        batch: int,
        device: torch.device,
        *,
        low: bool = True,
        compiled: bool = True,
    ) -> None:
        checks.choice("network", network, NETWORKS)
        checks.integer("batch", batch, least=2)  # for batch norm
        how = _case(case)
        self.fast = how.fast and low
        layout = torch.channels_last if self.fast else torch.contiguous_format
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = NETWORKS[network](lambda channels, timesteps: how.activation(timesteps), timesteps)
            self.inputs = torch.randn(batch, 3, 32, 32).to(device, memory_format=layout)
        self.labels = (torch.arange(batch) % 10).to(device)
        # torch's types of Module.to leave the layout out.
        self.network.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        if how.compiled and compiled:
            _compile(self.network)
        if how.compact:
            save_memory(self.network)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)

    def __call__(self) -> Tensor:
        """Return the loss before the update."""
        functional.reset_net(self.network)
        self.optimizer.zero_grad()
        with torch.autocast(self.inputs.device.type, torch.bfloat16, enabled=self.fast):
            loss = cross_entropy(self.network(self.inputs), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def infer(self) -> Tensor:
        """Return the logits of the batch in evaluation mode; the network goes back to training."""
        functional.reset_net(self.network.eval())
        with torch.autocast(self.inputs.device.type, torch.bfloat16, enabled=self.fast):
            logits = self.network(self.inputs)
        functional.reset_net(self.network.train())
        return logits

    def resident_bytes(self) -> int:
        """Bytes of weights, buffers, the optimizer's state and the batch, which are there before a step."""
        state = [v for values in self.optimizer.state.values() for v in values.values()]
        return _bytes([*self.network.parameters(), *self.network.buffers(), *state, self.inputs, self.labels])


def _compile(network: nn.Module) -> None:
    compile_neurons(network)
    for node in network.modules():  # SpikingJelly's are compiled as any module is
        if isinstance(node, neuron.IFNode):
            node.compile(dynamic=False)


def _case(name: str) -> Case:
    checks.choice("case", name, CASES)
    return CASES[name]


def seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Time one call, to the end of what it starts on a GPU."""
    begun = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def interleaved(
    functions: dict[str, Callable[[], Any]], repeats: int, device: torch.device, bar: tqdm, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each call, one of each in turn, so that a busy moment strikes all alike; the first only warm up."""
    checks.integer("repeats", repeats)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-warm_up, repeats):
        for name, function in functions.items():
            bar.set_postfix_str(name)
            taken = seconds(function, device)
            if turn >= 0:
                times[name].append(taken)
            bar.update()
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and least seconds, and the ratio of each median to that of ``ours``."""
    medians = {name: median(ts) for name, ts in times.items()}
    return {
        "median_s": medians,
        "min_s": {name: min(ts) for name, ts in times.items()},
        "over_ours": {name: m / medians["ours"] for name, m in medians.items()},
    }


def peak_memory(step: TrainingStep) -> float:
    """Largest memory that torch's allocator holds for a step, what lies there before it included, in MiB.

    On a GPU it is what the allocator itself counts. On the CPU torch's profiler reports every allocation and release,
    and the peak is that of their running sum: unlike the resident size of a process it holds no compiler and no
    library, and is the same in every run.
    """
    step()  # the optimizer's state is there from now on
    if step.inputs.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step.optimizer.zero_grad()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before + step.resident_bytes()) / 2**20
    functional.reset_net(step.network)
    step.optimizer.zero_grad()  # else releases of the step before would count
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        step()
    events = [e for e in cast(Any, profile.profiler).kineto_results.events() if e.name() == "[memory]"]
    held = peak = step.resident_bytes()
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20


class _Traffic(TorchDispatchMode):
    """Bytes of all tensors that operators read or write, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += _bytes(tree_leaves((args, kwargs, out)))
        return out


def _bytes(values: list[Any]) -> int:
    return sum(v.nbytes for v in values if isinstance(v, Tensor))


def work(network: str, timesteps: int, batch: int, device: torch.device) -> dict[str, int]:
    """FLOPs of a step, and the bytes that its operators move.

    Counted in a network of T timesteps whose activation is ReLU: a fused neuron moves the same. Each reads its input
    and writes its output, and in the backward pass reads two tensors and writes one. A cache may spare some of it.
    """
    step = TrainingStep("relu", network, timesteps, batch, device, low=has_bfloat16(device))
    step.network.timesteps = timesteps
    with FlopCounterMode(display=False) as flops:
        step()
    with _Traffic() as traffic:
        step()
    return {"flops": flops.get_total_flops(), "bytes": traffic.bytes}


def device_rates(device: torch.device, size: int) -> dict[str, float]:
    """FLOP/s of a square matrix product, and bytes/s of a copy, read and written; medians.

    The product is in bfloat16 where the device has it, else in float32.
    """
    from torch.utils.benchmark import Timer  # looks for a compiler as it is imported

    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if has_bfloat16(device) else torch.float32)
    source = torch.zeros(32 * size * size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    options = {"globals": {"a": a, "x": source, "y": target}, "num_threads": torch.get_num_threads()}
    product = Timer("a @ a", **options).blocked_autorange(min_run_time=0.5).median
    copy = Timer("y.copy_(x)", **options).blocked_autorange(min_run_time=0.5).median
    return {"flops_per_s": 2 * size**3 / product, "bytes_per_s": 2 * source.nbytes / copy}
