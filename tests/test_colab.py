"""The notebooks for Colab: plain Markdown, and a first cell that leaves the torch that is there alone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the library is installed, the scripts in ci/ are not

from ci.make_colab import bootstrap, colab_notebook, link_from_page  # noqa: E402
from ci.plain_markdown import Labels, plain  # noqa: E402
from ci.project import Repository  # noqa: E402

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
    names={"fig-a": "Figure 2.1", "sec": "A staircase", "ex": "Exercise: Levels"},
    pages={"glossary": "Glossary"},
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
        ("```{solution} ex\n:class: dropdown\n\nFour.\n```", "> **Solution**\n>\n> Four."),
        ("::::{note}\n:::{tip}\ninner\n:::\n::::", "> **Note**\n>\n> > **Tip**\n> >\n> > inner"),
        ("```{math}\n:label: eq-8\na = b\n```", "$$\na = b\n$$"),
        ("% a comment\ntext", "text"),
        ("```{tableofcontents}\n```", ""),
    ],
)
def test_myst_becomes_plain_markdown(myst, markdown):
    expected = "text, Figure 2.1, page, [out](https://a.org)" if markdown is None else markdown
    assert plain(myst, LABELS) == expected


def make(tmp_path, repo):
    source = tmp_path / "01_chapter.py"
    source.write_text(CHAPTER)
    return colab_notebook(source, LABELS, repo)


def test_the_notebook_is_plain_and_unexecuted(tmp_path):
    notebook = make(tmp_path, Repository("https://github.com/o/r", "main"))
    nbformat.validate(notebook)
    first, second, *_ = notebook.cells
    assert first.source == bootstrap(Repository("https://github.com/o/r", "main")).rstrip()
    assert "git+https://github.com/o/r@main" in first.source
    assert second.source == "# A chapter after Castagnetti et al. (2023)"
    assert all(not cell.get("outputs") for cell in notebook.cells)


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


def snapshot(folder):
    """Commit what a package is made from, as it is now, to a repository of its own; return its address."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "atif_lib", folder / "atif_lib", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "snapshot"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder.as_uri()


def colab_like(folder):
    """Make an environment with google.colab and all that this one has, less the library; return its Python."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("atif", "__editable__", "pip")):
            (packages / path.name).symlink_to(path)
    (packages / "google" / "colab").mkdir(parents=True, exist_ok=True)
    (packages / "google" / "colab" / "__init__.py").touch()
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    own = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True)
    (Path(own.stdout.decode().strip()) / "colab.pth").write_text(str(packages))
    return python


def run_python(python, code, folder):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


TORCH = (
    "import torch, os; print(torch.__version__, torch.__file__, os.stat(os.path.realpath(torch.__file__)).st_mtime_ns)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Colab is Linux")
def test_the_first_cells_install_the_library_and_leave_torch_alone(tmp_path):
    (tmp_path / "repo").mkdir()
    notebook = make(tmp_path, Repository(snapshot(tmp_path / "repo"), "main"))
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
