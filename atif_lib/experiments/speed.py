"""The experiment `speed`: times and memory of one device in one run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from atif_lib.experiments.bench import NeuronPass, TrainingStep, device_rates, interleaved, peak_memory, summary, work
from atif_lib.experiments.contract import Context
from atif_lib.results.environment import reset_peak_memory
from atif_lib.training.execution import has_bfloat16

__all__ = ["SpeedExperiment"]

NEURONS = ("spikingjelly", "spikingjelly-best", "ours-eager", "ours", "atif-u")
OTHERS = ("relu", "spikingjelly", "spikingjelly-best", "ours", "atif-u")
STEPS = ("relu", "spikingjelly", "spikingjelly-best", "ours", "ours-compact", "atif-u")
GROWING = ("relu", "spikingjelly", "ours")


@dataclass(frozen=True)
class SpeedExperiment:
    """A neuron, a training step, its growth with T and with the batch, and the roofline of the device.

    A device that imitates bfloat16 is measured in float32.
    """

    summary: str
    neuron: tuple[int, ...] = (4, 16, 64, 32, 32)  # [T, N, C, H, W], as the first of the network below
    network: str = "resnet18"
    other: str = "vgg16"  # a second network, without inference
    timesteps: int = 4
    batch: int = 32
    repeats: int = 9  # of a step; quick ones get more: a lone neuron twice, a growing step four times as many
    growing: str = "resnet8"  # the network of which T and batch grow
    growing_batch: int = 32
    growing_timesteps: tuple[int, ...] = (1, 2, 4, 8, 16)
    batches: tuple[int, ...] = (16, 64, 256)
    matrix: int = 2048
    compiled: bool = True
    device: str = "cpu"
    profiles = ("smoke", "laptop", "full")

    def at(self, profile: str) -> "SpeedExperiment":
        """Return the experiment at the size of a profile; ``full`` needs a GPU, which the others use if there is one.

        Raises:
            ValueError: ``full`` without a GPU.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if profile == "smoke":
            small = {
                "neuron": (2, 2, 4, 8, 8),
                "network": "resnet8",
                "other": "small",
                "timesteps": 2,
                "batch": 4,
                "repeats": 2,
            }
            growth = {"growing_batch": 4, "growing_timesteps": (1, 2), "batches": (2, 4), "matrix": 256}
            return dataclasses.replace(self, **small, **growth, compiled=False, device=device)
        if profile == "laptop":
            return dataclasses.replace(self, device=device)
        if device == "cpu":
            raise ValueError("profile 'full' of speed needs a GPU, and torch sees none; laptop measures the processor")
        large = {"neuron": (4, 256, 64, 32, 32), "batch": 256, "repeats": 20, "matrix": 8192}
        growth = {"growing": "resnet18", "growing_batch": 128, "batches": (32, 64, 128, 256, 512)}
        return dataclasses.replace(self, **large, **growth, device=device)

    def run(self, context: Context) -> None:
        """Measure, and fill in the record; the seed is not used."""
        draft = context.draft
        torch.compiler.reset()
        calls = (2 * self.repeats + 2) * len(NEURONS) + (2 * self.repeats + 1) * len(STEPS)
        calls += 2 * self.repeats * len(OTHERS)
        calls += 4 * self.repeats * len(GROWING) * (len(self.growing_timesteps) + len(self.batches))
        bar = tqdm(total=calls, unit="call", leave=False, disable=None)
        # A compiled neuron that met torch's limit would run uncompiled without a word: better to fail.
        with bar, torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
            draft.result["neuron"] = self._neuron(bar)
            draft.result["step"], draft.result["inference"] = self._step(bar, STEPS, self.network)
            draft.result["other"], _ = self._step(bar, OTHERS, self.other)
            draft.result["float32"], _ = self._step(bar, OTHERS, self.network, low=False)
            draft.result["timesteps"] = self._growth(bar, "timesteps", self.growing_timesteps)
            draft.result["batch"] = self._growth(bar, "batch", self.batches)
        draft.result["roofline"] = self._roofline()
        draft.result["precision"] = "bf16-mixed" if has_bfloat16(torch.device(self.device)) else "32-true"
        reset_peak_memory()

    def _neuron(self, bar: tqdm) -> dict[str, Any]:
        bar.set_description("neuron")
        device = torch.device(self.device)
        options = {"low": has_bfloat16(device), "compiled": self.compiled}
        passes = {case: NeuronPass(case, self.neuron, device, **options) for case in NEURONS}
        return summary(interleaved(passes, 2 * self.repeats, device, bar))

    def _step(self, bar: tqdm, cases: tuple[str, ...], network: str, low: bool = True) -> tuple[dict, dict]:
        """Return the training step's times and memory, and the times of inference."""
        bar.set_description(f"step of {network}")
        steps = self._steps(cases, network, self.timesteps, self.batch, low)
        training, inference = self._measure(bar, steps, self.repeats), {}
        if network == self.network and low:
            passes = {case: step.infer for case, step in steps.items()}
            inference = summary(interleaved(passes, self.repeats, torch.device(self.device), bar, warm_up=1))
        for found in filter(None, (training, inference)):
            times = found["median_s"]
            found["over_t_relu"] = {case: times[case] / (self.timesteps * times["relu"]) for case in times}
        return training, inference

    def _growth(self, bar: tqdm, what: str, values: tuple[int, ...]) -> dict[str, Any]:
        """Return lists over the values of T or of the batch, for each case."""
        found: dict[str, Any] = {"values": values, "median_s": {}, "peak_mib": {}}
        for value in values:
            bar.set_description(f"{what} {value}")
            size = {"timesteps": self.timesteps, "batch": self.growing_batch} | {what: value}
            steps = self._steps(GROWING, self.growing, size["timesteps"], size["batch"])
            measured = self._measure(bar, steps, 4 * self.repeats)
            for key in ("median_s", "peak_mib"):
                for case, number in measured[key].items():
                    found[key].setdefault(case, []).append(number)
        return found

    def _steps(
        self, cases: tuple[str, ...], network: str, timesteps: int, batch: int, low: bool = True
    ) -> dict[str, TrainingStep]:
        device = torch.device(self.device)
        options = {"low": low and has_bfloat16(device), "compiled": self.compiled}
        return {
            case: TrainingStep(case, network, 1 if case == "relu" else timesteps, batch, device, **options)
            for case in cases
        }

    def _measure(self, bar: tqdm, steps: dict[str, TrainingStep], repeats: int) -> dict[str, dict[str, float]]:
        """Return times and peak memory of one training step; the steps that find the peak warm up."""
        peaks = {case: peak_memory(step) for case, step in steps.items()}
        device = torch.device(self.device)
        return summary(interleaved(steps, repeats, device, bar, warm_up=0)) | {"peak_mib": peaks}

    def _roofline(self) -> dict[str, float]:
        device = torch.device(self.device)
        found = work(self.network, self.timesteps, self.batch, device) | device_rates(device, self.matrix)
        compute, traffic = found["flops"] / found["flops_per_s"], found["bytes"] / found["bytes_per_s"]
        return found | {"compute_s": compute, "traffic_s": traffic}
