"""The book's figures: one style for all, and for each an SVG, a PNG, the data drawn, an alt text and a caption."""

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
import pandas as pd
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from atif_lib import checks
from atif_lib.paths import figures_folder

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY, BLACK = "#E69F00", "#56B4E9", "#7F7F7F", "#000000"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY, BLACK)
"""Colours that readers with any colour vision tell apart (Okabe and Ito, 2008), less its yellow, too pale on white."""
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
"""One for each colour, so that a curve is known without its colour too."""

NEURON_STYLE: dict[str, dict[str, Any]] = {
    "ReLU": {"color": GREY, "linestyle": ":"},
    "IF": {"color": VERMILION, "linestyle": "--"},
    "ATIF-u": {"color": BLUE, "linestyle": "-"},
    "ATIF-nu": {"color": GREEN, "linestyle": "-."},
    "ATIF-nu, as printed": {"color": ORANGE, "linestyle": (0, (1, 1))},
    "half-step start": {"color": PURPLE, "linestyle": (0, (5, 1))},
    "quantized": {"color": SKY, "linestyle": (0, (3, 1, 1, 1))},
    "Lloyd–Max": {"color": BLACK, "linestyle": (0, (8, 2))},
}
"""One colour and one dash for a neuron, in every figure of the book; the last is the limit of them all."""

_DASHES = {"-": "none", "--": "9 4", "-.": "9 3 2 3"}  # the same for SVG, of the neurons that move

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.prop_cycle": cycler(color=PALETTE, linestyle=LINE_STYLES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.figsize": (6.4, 3.8),
    "font.size": 13,  # on a telephone a figure is drawn at little more than half its size
    "grid.color": "#E3E6E8",
    "grid.linewidth": 0.8,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "svg.fonttype": "path",  # a reader's fonts are not ours
    "svg.hashsalt": "atif",  # else element ids are drawn at random and no two builds are equal
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
}
NAME = re.compile(r"[a-z0-9-]+")
_numbers: dict[str, str] | None = None  # set by show_captions

Columns = pd.DataFrame | Mapping[str, Sequence[Any]]


def use_style() -> None:
    """Draw every following figure in the book's style."""
    mpl.rcParams.update(STYLE)


def neuron_style(label: str) -> dict[str, Any]:
    """Return colour and dash of a neuron by what a figure calls it, such as "IF, V_th = 1".

    Args:
        label: holds a key of `NEURON_STYLE`; of several the most special counts.

    Raises:
        ValueError: it holds none.
    """
    keys = [key for key in NEURON_STYLE if re.search(rf"\b{re.escape(key)}", label)]
    if not keys:
        raise ValueError(f"label={label!r}; allowed: a text that holds one of {', '.join(NEURON_STYLE)}")
    special = "half-step start" if "half-step start" in keys else max(keys, key=len)
    return dict(NEURON_STYLE[special])


def show_captions(numbers: Mapping[str, str]) -> None:
    """Show the caption of every following figure below it, as a notebook outside the book needs.

    Args:
        numbers: the figures' numbers by their names, such as {"membrane": "Figure 1.1"}.
    """
    global _numbers
    _numbers = dict(numbers)


def show(fig: Figure, name: str, *, alt: str, caption: str, data: Columns) -> None:
    """Save a figure and the data that it draws, close it and display it.

    In the folder of figures (see `paths`) this writes `<name>.svg`, `<name>.png` and `<name>.csv`. On the book's page
    the figure bears the label `fig-<name>`.

    Args:
        fig: the figure.
        name: its name, of small letters, digits and hyphens.
        alt: what it shows, for who cannot see it.
        caption: its caption, in MyST (mathematics and citations work).
        data: what it draws, as columns of equal length.

    Raises:
        ValueError: a bad name, an empty `alt` or `caption`, or data that is empty or ragged.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"name={name!r}; allowed: small letters, digits and hyphens ([a-z0-9-]+)")
    for argument, text in (("alt", alt), ("caption", caption)):
        if not text.strip():
            raise ValueError(f"{argument}={text!r}; allowed: a text that is not empty")
    table = as_table(data)
    svg = save(fig, name, table)
    plt.close(fig)
    display_svg(svg, name=name, alt=" ".join(alt.split()), caption=caption.strip())


def as_table(data: Columns) -> pd.DataFrame:
    """Return `data` as a table; a ValueError says what is wrong with it."""
    lengths = {str(key): len(column) for key, column in data.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"data={lengths} (rows of each column); allowed: columns of equal length")
    if not lengths or 0 in lengths.values():
        raise ValueError(f"data={data!r}; allowed: one column and one row, or more")
    if isinstance(data, pd.DataFrame):
        return data.reset_index() if any(data.index.names) else data
    # In their order, whatever an index says; numbers of torch and NumPy as Python's.
    rows = {key: [v.item() if hasattr(v, "item") else v for v in column] for key, column in data.items()}
    return pd.DataFrame(rows)


def save(fig: Figure, name: str, table: pd.DataFrame) -> str:
    """Write the figure's three files, the same bytes for the same figure, and return the SVG."""
    folder = figures_folder()
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})
    svg = _svg(fig)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8", newline="\n")
    return svg


def _svg(fig: Figure) -> str:
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a script needs none, and then none is imported
    return ipython is not None and ipython.get_ipython() is not None


def display_svg(svg: str, **facts: str) -> None:
    """Display an SVG in a notebook, its name, alt text and caption beside it; outside a notebook do nothing."""
    if not _in_notebook():
        return
    from IPython.display import Markdown, display

    display({"image/svg+xml": svg, "text/plain": facts["alt"]}, metadata={"atif_figure": facts}, raw=True)
    if _numbers is not None:
        display(Markdown(f"**{_numbers.get(facts['name'], 'Figure')}.** {facts['caption']}"))


def show_moving(fig: Figure, settings: Mapping[str, Any], *, neuron: str, alt: str) -> None:
    """Display a figure that the book's page replaces by a neuron with sliders (``book/_static/neuron.js``).

    Without that script, as in a notebook, the figure stays; in print the sliders are left out.

    Args:
        fig: the first drawing.
        settings: ranges of the sliders and values at the start; the script says what it knows.
        neuron: IF, ATIF-u or ATIF-nu, whose colour and dash the lines have.
        alt: what the first drawing shows, for who cannot see it.

    Raises:
        ValueError: another neuron.
    """
    checks.choice("neuron", neuron, [n for n, s in NEURON_STYLE.items() if s["linestyle"] in _DASHES])
    svg = _svg(fig)
    plt.close(fig)
    drawing = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    style = f"--neuron: {NEURON_STYLE[neuron]['color']}; --dash: {_DASHES[NEURON_STYLE[neuron]['linestyle']]}"
    data = escape(json.dumps(dict(settings)))
    html = f'<div class="moving-neuron" style="{style}" data-settings="{data}">{drawing}</div>'
    if _in_notebook():
        from IPython.display import display

        display({"text/html": html, "text/plain": alt}, raw=True)


def show_source(function: Callable[..., Any]) -> None:
    """Display in a notebook the source of a library function, less its docstring: what the book shows is what runs."""
    from IPython.display import Markdown, display

    lines = inspect.cleandoc("\n" + inspect.getsource(function)).splitlines()
    definition = ast.parse("\n".join(lines)).body[0]
    assert isinstance(definition, ast.FunctionDef | ast.ClassDef)
    if ast.get_docstring(definition) is not None:
        docstring = definition.body[0]
        del lines[docstring.lineno - 1 : docstring.end_lineno]
    display(Markdown("\n".join(["```python", *lines, "```"])))
