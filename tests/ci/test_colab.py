"""The notebooks for Colab: plain Markdown, and a first cell that leaves the torch that is there alone."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]

from ci.labels import read_labels  # noqa: E402
from ci.make_colab import bootstrap, colab_notebook, link_from_page  # noqa: E402
from ci.plain_markdown import Labels, plain, plain_code  # noqa: E402
from ci.project import Repository  # noqa: E402
from ci.run_notebooks import colab_like, faults, snapshot  # noqa: E402

CHAPTER = """# %% [markdown]
# # A chapter after {cite:t}`one`

# %% tags=["parameters"]
profile = "smoke"

# %%
import torch
import atif_lib
"""
LABELS = Labels(
    equations={"eq-7": "7"},
    names={"fig-a": "Figure 2.1", "fig-b": "Figure 1.3", "sec": "A staircase", "ex": "Exercise: Levels"},
    pages={"glossary": "Glossary", "14_better": "Chapter 14"},
    citations={"one": ("Castagnetti et al.", "2023"), "two": ("Ann and Bo", "2018")},
)


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("as {cite:t}`one` say", "as Castagnetti et al. (2023) say"),
        ("known {cite:p}`one,two`", "known (Castagnetti et al., 2023; Ann and Bo, 2018)"),
        ("known {cite}`two`", "known (Ann and Bo, 2018)"),
        ("Eq. {eq}`eq-7` and {numref}`fig-a`", "Eq. (7) and Figure 2.1"),
        ("{ref}`sec`, {ref}`here <sec>`, {term}`spike`, {term}`spikes <spike>`", "A staircase, here, spike, spikes"),
        ("{doc}`glossary` and {doc}`words </book/glossary>`", "Glossary and words"),
        ("[text](#fig-a), [](#fig-a), [page](glossary.md), [out](https://a.org)", None),
        ("(sec)=\n## A staircase", "## A staircase"),
        ("$$\na \\tag{7}\n$$ (eq-7)\nmore", "$$\na \\tag{7}\n$$\nmore"),
        ("code `{eq}` and `x`", "code `{eq}` and `x`"),
        ("```python\n{eq}`a`\n```", "```python\n{eq}`a`\n```"),
        (":::{note}\nA {term}`spike`.\n:::", "> **Note**\n>\n> A spike."),
        (":::{admonition} Aims\n:class: tip\n\n* one\n* two\n:::", "> **Aims**\n>\n> * one\n> * two"),
        ("```{exercise} Levels\n:label: ex\nHow many?\n```", "> **Exercise: Levels**\n>\n> How many?"),
        (
            "```{solution} ex\n:class: dropdown\n\nFour {cite}`two`.\n```",
            "<details>\n<summary>Solution</summary>\n\nFour (Ann and Bo, 2018).\n\n</details>",
        ),
        (
            ":::{admonition} More\n:class: tip dropdown\nText.\n:::",
            "<details>\n<summary>More</summary>\n\nText.\n\n</details>",
        ),
        ("[](14_better.py) says why, as does [](14_better.py#sec)", "Chapter 14 says why, as does Chapter 14"),
        ("::::{note}\n:::{tip}\ninner\n:::\n::::", "> **Note**\n>\n> > **Tip**\n> >\n> > inner"),
        ("```{math}\n:label: eq-8\na = b\n```", "$$\na = b\n$$"),
        ("% a comment\ntext", "text"),
        ("```{tableofcontents}\n```", ""),
    ],
)
def test_myst_becomes_plain_markdown(myst, markdown):
    expected = "text, Figure 2.1, page, [out](https://a.org)" if markdown is None else markdown
    assert plain(myst, LABELS) == expected


def test_chapters_are_called_by_their_number(tmp_path):
    (tmp_path / "references.bib").touch()
    (tmp_path / "glossary.md").write_text("# Words")
    (tmp_path / "02_two.py").write_text(CHAPTER)
    pages = read_labels(tmp_path, tmp_path / "nowhere").pages
    assert (pages["02_two"], pages["glossary"]) == ("Chapter 2", "Words")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r'":::{warning}\nNo data.\n:::"', '"> **Warning:** No data."'),
        (r'f":::{{note}}\nNo {data}.\n:::"', 'f"> **Note:** No {data}."'),
        ("x[:::2]", "x[:::2]"),
    ],
)
def test_banners_in_code_become_plain(source, expected):
    assert plain_code(source) == expected


def make(tmp_path, repo, more=""):
    source = tmp_path / "01_chapter.py"
    source.write_text(CHAPTER + more)
    return colab_notebook(source, LABELS, repo)


PUBLISHED = Repository("https://github.com/o/r", "main")


def test_the_notebook_is_plain_and_unexecuted(tmp_path):
    notebook = make(tmp_path, PUBLISHED)
    nbformat.validate(notebook)
    first, second, *_ = notebook.cells
    assert first.source == bootstrap(PUBLISHED).rstrip()
    assert "git+https://github.com/o/r@main" in first.source
    assert second.source == "# A chapter after Castagnetti et al. (2023)"
    assert all(not cell.get("outputs") for cell in notebook.cells)


def sources(tmp_path, more):
    return [cell.source for cell in make(tmp_path, PUBLISHED, more).cells]


def test_the_profile_is_explained_where_a_chapter_uses_it(tmp_path):
    assert not any("profile" in source for source in sources(tmp_path, ""))
    (cell,) = [source for source in sources(tmp_path, "\n# %%\nprint(profile)") if "profile = " in source]
    assert cell.startswith("# ")
    assert cell.endswith('\nprofile = "smoke"')


EXERCISES = """
# %% [markdown]
# ```{exercise} Levels
# How many?
# ```
#
# ```{solution} ex
# Nine.
# ```
#
# ```{exercise} Steps
# How wide?
# ```
#
# ## Recap
"""


def test_behind_each_exercise_is_a_cell_to_try_in(tmp_path):
    *_, first, try_first, second, try_second, recap = sources(tmp_path, EXERCISES)
    assert first == "> **Exercise: Levels**\n>\n> How many?"
    assert try_first == try_second == "# Try it here."
    assert second.startswith("<details>\n<summary>Solution</summary>\n\nNine.\n\n</details>\n\n> **Exercise: Steps**")
    assert recap == "## Recap"


def test_plots_are_folded_and_figures_numbered(tmp_path):
    plot = '\n# %% tags=["hide-input"]\nfigures.show(1, "b")\n'
    cells = make(tmp_path, PUBLISHED, plot).cells
    assert cells[-1].source == '# @title Draw the figure\nfigures.show(1, "b")'
    assert cells[-1].metadata == {"jupyter": {"source_hidden": True}, "cellView": "form"}
    assert "figures.show_captions({'b': 'Figure 1.3'})" in cells[1].source


def test_images_are_fetched_where_a_chapter_reads_them(tmp_path):
    for code, fetched in [
        ('data.load("cifar10")', True),
        ('trained(f"cifar10-{a}")', True),
        ('data.load("gsc")', False),
    ]:
        assert any('data.fetch("cifar10")' in source for source in sources(tmp_path, f"\n# %%\n{code}\n")) is fetched


def test_what_is_wrong_with_an_executed_notebook_is_told():
    def shown(text="", **metadata):
        return nbformat.v4.new_output("display_data", {"text/markdown": text}, metadata=metadata)

    figure = shown(atif_figure={"name": "a"})
    cells = [
        nbformat.v4.new_code_cell(outputs=[figure, shown("**Figure 1.2.** A line.")]),
        nbformat.v4.new_code_cell(outputs=[figure, figure, shown("**Figure.** A line.")]),
        nbformat.v4.new_code_cell(outputs=[shown("see {cite:t}`one`"), shown("```python\n:::{note}\n```")]),
        nbformat.v4.new_markdown_cell("fine"),
    ]
    found = list(faults(nbformat.v4.new_notebook(cells=cells)))
    assert found == ["figure a has no numbered caption"] * 2 + ["MyST in an output: '{cite:t}`one`'"]


def test_before_it_has_an_address_the_notebook_fetches_nothing(tmp_path):
    notebook = make(tmp_path, Repository("https://github.com/your_name/r", "main"))
    assert "your_name" not in json.dumps(notebook)
    assert "git+" not in json.dumps(notebook)


@pytest.mark.parametrize(("owner", "colab"), [("someone", True), ("your_name", False)])
def test_a_page_links_its_notebook_once(tmp_path, owner, colab):
    page = tmp_path / "01_chapter.html"
    page.write_text("<h1>Title</h1><p>Text</p>")
    for _ in range(2):
        link_from_page(page, Repository(f"https://github.com/{owner}/book", "main"))
    text = page.read_text()
    assert text.count("notebook-links") == 1
    assert 'href="../notebooks/01_chapter.ipynb"' in text
    assert (f"/github/{owner}/book/blob/gh-pages/notebooks/01_chapter.ipynb" in text) is colab


def run_python(python, code, folder):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


TORCH = (
    "import torch, os; print(torch.__version__, torch.__file__, os.stat(os.path.realpath(torch.__file__)).st_mtime_ns)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Colab is Linux")
@pytest.mark.slow
def test_the_first_cells_install_the_library_and_leave_torch_alone(tmp_path):
    notebook = make(tmp_path, Repository(snapshot(ROOT, tmp_path / "repo"), "main"))
    python = colab_like(tmp_path / "colab")
    before = run_python(python, TORCH, tmp_path)
    assert before.returncode == 0, before.stderr
    assert run_python(python, "import atif_lib", tmp_path).returncode != 0
    code = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    done = run_python(python, code + "\nprint(atif_lib.__file__)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "colab" / "env") in done.stdout
    assert run_python(python, TORCH, tmp_path).stdout == before.stdout
    assert f"torch=={metadata.version('torch')}" in (tmp_path / "atif-constraints.txt").read_text().splitlines()
    assert list((tmp_path / "colab" / "env").rglob("torch-*.dist-info")) == []
