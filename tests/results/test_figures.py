"""The book's figures: what `show` saves, what it refuses and what it hands to the page."""

import warnings

import matplotlib as mpl
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from atif_lib.results import figures

GOOD = {"alt": "A line that rises.", "caption": "A line.", "data": {"x": [0, 1], "y": [0.0, 0.1]}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_FIGURES", str(tmp_path / "figures"))
    with mpl.rc_context():
        mpl.use("agg")
        figures.use_style()
        yield tmp_path / "figures"
    plt.close("all")


def draw():
    figure, axes = plt.subplots()
    axes.plot(GOOD["data"]["x"], GOOD["data"]["y"])
    return figure


def test_show_saves_figure_and_data_and_closes(folder):
    figures.show(draw(), "a-line-2", **GOOD)
    assert sorted(path.name for path in folder.iterdir()) == ["a-line-2.csv", "a-line-2.png", "a-line-2.svg"]
    assert pd.read_csv(folder / "a-line-2.csv").to_dict("list") == GOOD["data"]
    assert plt.get_fignums() == []


def test_the_same_figure_is_the_same_bytes(folder):
    for name in ("first", "second"):
        figures.show(draw(), name, **GOOD)
    for suffix in ("svg", "png"):
        assert (folder / f"first.{suffix}").read_bytes() == (folder / f"second.{suffix}").read_bytes()
    assert "dc:date" not in (folder / "first.svg").read_text()


def test_the_background_is_opaque_white(folder):
    figures.show(draw(), "plate", **GOOD)
    corner = plt.imread(folder / "plate.png")[0, 0]
    assert corner[:3].tolist() == [1.0, 1.0, 1.0]
    assert corner.size == 3 or corner[3] == 1.0


def test_no_two_curves_share_colour_or_line_style(folder):
    axes = draw().axes[0]
    lines = [axes.plot([0, 1])[0] for _ in figures.PALETTE]
    assert len({line.get_color() for line in lines}) == len(figures.PALETTE)
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == len(figures.PALETTE)


def test_no_two_neurons_share_colour_or_dash():
    for part in ("color", "linestyle"):
        assert len({str(style[part]) for style in figures.NEURON_STYLE.values()}) == len(figures.NEURON_STYLE)
    assert {style["color"] for style in figures.NEURON_STYLE.values()} <= set(figures.PALETTE)


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("IF, V_th = 1", "IF"),
        ("ATIF-nu", "ATIF-nu"),
        ("ATIF-nu, as printed", "ATIF-nu, as printed"),
        ("ATIF-u, half-step start", "half-step start"),
        ("small, ReLU (T = 1)", "ReLU"),
    ],
)
def test_a_neuron_is_known_by_what_a_figure_calls_it(label, key):
    assert figures.neuron_style(label) == figures.NEURON_STYLE[key]


def test_an_unknown_neuron_is_refused():
    with pytest.raises(ValueError, match=r"label='LIF'; allowed: .*ATIF-nu"):
        figures.neuron_style("LIF")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Figure 3"}, r"name='Figure 3'; .*\[a-z0-9-\]"),
        ({"name": ""}, "name=''; allowed"),
        ({"alt": "  "}, "alt='  '; .*not empty"),
        ({"caption": ""}, "caption=''; .*not empty"),
        ({"data": {}}, "data={}; .*one column and one row, or more"),
        ({"data": {"x": []}}, "data={'x': .*one column and one row, or more"),
        ({"data": {"x": [1], "y": [1, 2]}}, "data={'x': 1, 'y': 2}.*equal length"),
    ],
)
def test_show_says_what_is_wrong(folder, change, message):
    arguments = {"name": "ok", **GOOD, **change}
    with pytest.raises(ValueError, match=message):
        figures.show(draw(), arguments.pop("name"), **arguments)
    assert not folder.exists()


def test_columns_are_written_in_their_order_whatever_their_index(folder):
    table = pd.DataFrame({"x": [1, 2, 3, 4], "y": [1.0, 2.0, 3.0, 4.0]})
    mixed = {"x": table["x"][2:], "y": table["y"][:2], "z": torch.tensor([5.0, 6.0]), "w": [torch.tensor(7.0), 8.0]}
    expected = pd.DataFrame({"x": [3, 4], "y": [1.0, 2.0], "z": [5.0, 6.0], "w": [7.0, 8.0]})
    pd.testing.assert_frame_equal(figures.as_table(mixed), expected)
    named = pd.DataFrame({"x": [1, 2]}, index=pd.Index([5, 6], name="frame"))
    pd.testing.assert_frame_equal(figures.as_table(named), pd.DataFrame({"frame": [5, 6], "x": [1, 2]}))


def test_a_script_without_notebook_displays_nothing(folder, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.show(draw(), "quiet", **GOOD)
    assert capsys.readouterr().out == ""


def test_a_notebook_gets_the_svg_and_its_texts(folder, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr(display, "display", lambda data, **options: shown.append((data, options)))
    figures.show(draw(), "a-line", **GOOD | {"alt": "A line\n  that rises."})
    ((data, options),) = shown
    assert data["image/svg+xml"] == (folder / "a-line.svg").read_text()
    assert options["metadata"]["atif_figure"] == {"name": "a-line", "alt": "A line that rises.", "caption": "A line."}


@pytest.mark.parametrize(("numbers", "shown_number"), [({"a-line": "Figure 1.1"}, "Figure 1.1"), ({}, "Figure")])
def test_a_notebook_of_its_own_gets_captions(folder, monkeypatch, numbers, shown_number):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr(display, "display", lambda data, **options: shown.append(data))
    monkeypatch.setattr(figures, "_numbers", None)
    figures.show_captions(numbers)
    figures.show(draw(), "a-line", **GOOD)
    assert shown[1].data == f"**{shown_number}.** A line."


def test_the_source_of_a_function_is_shown_without_its_docstring(monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda text: shown.append(text.data))
    figures.show_source(figures.use_style)
    assert shown == ["```python\ndef use_style() -> None:\n    mpl.rcParams.update(STYLE)\n```"]


def test_a_neuron_that_has_no_dash_for_the_screen_is_refused():
    with pytest.raises(ValueError, match="neuron='quantized'; allowed: 'IF', 'ATIF-u', 'ATIF-nu'"):
        figures.show_moving(plt.figure(), {}, neuron="quantized", alt="")


def test_a_figure_with_sliders_is_shown_in_a_notebook_alone(folder, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda data, **options: shown.append(data))
    figures.show_moving(draw(), {"timesteps": 4}, neuron="IF", alt="A line")
    assert shown == []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    figure = draw()
    figures.show_moving(figure, {"timesteps": 4}, neuron="IF", alt="A line")
    (data,) = shown
    assert '<svg role="img" aria-label="A line"' in data["text/html"]
    assert 'data-settings="{&quot;timesteps&quot;: 4}"' in data["text/html"]
    assert not plt.fignum_exists(figure.number)
