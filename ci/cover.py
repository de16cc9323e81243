"""Draw the book's cover, the picture of README.md and of the first page: `python -m ci.cover`.

The best staircases that a neuron makes of a Gaussian current in four timesteps, over the ReLU that it stands for.
"""

import sys

from matplotlib import pyplot as plt

from atif_lib import console
from atif_lib.quantization.density import GAUSSIAN
from atif_lib.quantization.families import ladder
from atif_lib.results import figures
from ci.project import command_line

NEURONS = {"uniform": "ATIF-u", "non-uniform, rate · p1": "ATIF-nu", "uniform, half-step start": "half-step start"}
LEFT, RIGHT = -1.0, 3.2  # of the axis, in standard deviations


@console.command
def main() -> int:
    """Draw the picture where the pages look for it."""
    arguments = command_line(__doc__).parse_args()
    figures.use_style()
    rungs = ladder(GAUSSIAN, 4)
    fig, ax = plt.subplots(figsize=(7.2, 4.2))
    ax.plot([LEFT, 0, RIGHT], [0, 0, RIGHT], label="ReLU", **figures.neuron_style("ReLU"))
    for family, neuron in NEURONS.items():
        best, style = rungs[family], figures.neuron_style(neuron)
        levels = [0.0, *best.levels.tolist()]
        inputs = [LEFT, *best.transitions.tolist(), RIGHT]
        label = f"{neuron}: {best.sqnr_db:.2f} dB"
        ax.step(inputs, [*levels, levels[-1]], where="post", label=label, linewidth=2.2, **style)
    ax.set(xlabel="current, in standard deviations", ylabel="what four timesteps say of it")
    ax.set(xlim=(LEFT, RIGHT), ylim=(-0.1, 2.7))
    ax.legend(loc="upper left")
    fig.savefig(arguments.project.root / "book" / "_static" / "readme.png", dpi=200, metadata={"Software": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
