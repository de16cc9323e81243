"""Make each chapter's notebook for Colab and for download, and link it from its page: `python -m ci.make_colab`.

Colab opens notebooks only and shows MyST as raw text, so the text is turned into plain Markdown here. The notebooks are
not executed: a reader runs them, and so does ci/run_notebooks.py. (Version 0.6 of sphinx-tojupyter, which makes
notebooks from a Sphinx build, has no numbered references, no folded answers and of the admonitions notes only.)
"""

import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from atif_lib import console
from ci.labels import read_labels
from ci.notebooks import notebook_of, read_chapter, tags
from ci.plain_markdown import Labels, plain, plain_code, split_after
from ci.project import Project, Repository, command_line, repository

BOOTSTRAP = '''\
# @title Install the book's library on Colab, and keep the torch that is there
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys

SOURCE = "git+{url}@{branch}"


def found(module):
    """Say whether a module could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if not found("atif_lib") and not found("google.colab"):
    command = f'pip install "atif-lib[torch,data] @ {{SOURCE}}"'
    raise ModuleNotFoundError(f"the book's library is missing; to install it, run: {{command}}")
if not found("atif_lib"):
    kept = [name for name in ("torch", "torchvision", "torchaudio") if found(name)]
    pins = [f"{{name}}=={{importlib.metadata.version(name)}}" for name in kept]
    pathlib.Path("atif-constraints.txt").write_text("\\n".join(pins))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "atif-constraints.txt"]
    subprocess.run([*command, f"atif-lib[data] @ {{SOURCE}}"], check=True)
    importlib.invalidate_caches()
'''
UNPUBLISHED = """\
# @title Install the book's library
# This copy of the book was built before it had a public address: install the library from a checkout of its source
# with `pip install ".[torch,data]"`.
"""
CAPTIONS = """\
# @title Number the figures as in the book
from atif_lib.results import figures

figures.show_captions({numbers!r})
"""
IMAGES = """\
# @title Fetch CIFAR-10, 170 MB, once
# Where that fails the chapter goes on without it, and says what it does instead.
from atif_lib import data

try:
    data.fetch("cifar10")
except data.DataUnavailable as error:
    print(error)
"""
PROFILE = """\
# How much the chapter computes. "smoke": seconds, on few examples, to see that the code runs; what it computes is no
# result. "laptop": minutes, as long as the runs whose results the book shows.
"""
TRY = "# Try it here."
HIDDEN = {"hide-input", "remove-input", "hide-cell"}
PROFILED = re.compile(r"\bprofile\b(?! = )")
READS_IMAGES = re.compile(r'\bload\("cifar10"\)|\btrained\(f?"cifar10-')
MARK = re.compile(r'\n?<p class="notebook-links">.*?</p>', re.DOTALL)


def bootstrap(repo: Repository) -> str:
    """Return the first cell: what makes the library importable on Colab."""
    return BOOTSTRAP.format(url=repo.url, branch=repo.branch) if repo.published else UNPUBLISHED


def colab_notebook(chapter: Path, labels: Labels, repo: Repository) -> NotebookNode:
    """Return a chapter as an unexecuted notebook in plain Markdown that needs the library and no other file."""
    notebook = read_chapter(chapter)
    if not any(PROFILED.search(cell.source) for cell in notebook.cells if is_code(cell)):
        notebook.cells = [cell for cell in notebook.cells if "parameters" not in tags(cell)]
    code = "\n".join(cell.source for cell in notebook.cells if is_code(cell))
    head = [bootstrap(repo)]
    if "figures.show(" in code:
        head.append(CAPTIONS.format(numbers=figure_numbers(chapter, labels)))
    if READS_IMAGES.search(code):
        head.append(IMAGES)
    cells = [folded(new_code_cell(source.rstrip())) for source in head]
    cells += [new for cell in notebook.cells for new in colab_cells(cell, labels) if new.source.strip()]
    return notebook_of(cells)


def colab_cells(cell: NotebookNode, labels: Labels) -> Iterator[NotebookNode]:
    """Yield what a cell becomes: a cell to try in behind each exercise, plots folded, the profile explained."""
    if not is_code(cell):
        *exercises, rest = split_after(cell.source, "exercise")
        for text in exercises:
            yield new_markdown_cell(plain(text, labels))
            yield new_code_cell(TRY)
        yield new_markdown_cell(plain(rest, labels))
        return
    new = new_code_cell(plain_code(cell.source))
    if "parameters" in tags(cell):
        new.source = PROFILE + new.source
    yield folded(new) if HIDDEN.intersection(tags(cell)) else new


def is_code(cell: NotebookNode) -> bool:
    """Say whether a cell holds code."""
    return cell.cell_type == "code"


def folded(cell: NotebookNode) -> NotebookNode:
    """Fold a cell's code: Jupyter reads one mark, Colab the other, and shows the title."""
    cell.metadata.update(jupyter={"source_hidden": True}, cellView="form")
    if "# @title" not in cell.source:
        title = "Draw the figure" if "figures.show(" in cell.source else "Code"
        cell.source = f"# @title {title}\n{cell.source}"
    return cell


def figure_numbers(chapter: Path, labels: Labels) -> dict[str, str]:
    """Return the numbers of a chapter's figures by name; none before the book is built."""
    place = f"Figure {int(chapter.stem[:2])}."
    return {name.removeprefix("fig-"): number for name, number in labels.names.items() if number.startswith(place)}


def links(name: str, repo: Repository) -> str:
    """Return the links to a chapter's notebook: the file itself and, once there is an address, Colab."""
    parts = []
    if repo.published:
        url = f"https://colab.research.google.com/github/{repo.slug}/blob/gh-pages/notebooks/{name}.ipynb"
        parts.append(f'<a href="{escape(url)}">Open in Colab</a>')
    parts.append(f'<a href="../notebooks/{name}.ipynb" download>Download the notebook</a>')
    return f'\n<p class="notebook-links">{"".join(parts)}</p>'


def link_from_page(page: Path, repo: Repository) -> None:
    """Put the links under the title of a chapter's page, in place of any that are there."""
    text = MARK.sub("", page.read_text(encoding="utf-8"))
    head, end, rest = text.partition("</h1>")
    page.write_text(head + end + links(page.stem, repo) + rest, encoding="utf-8")


def write_notebooks(project: Project, repo: Repository, folder: Path) -> list[Path]:
    """Write the notebooks of all chapters into `folder`."""
    labels = read_labels(project.root / "book", project.html)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"{chapter.stem}.ipynb" for chapter in project.chapters()]
    for chapter, target in zip(project.chapters(), targets, strict=True):
        nbformat.write(colab_notebook(chapter, labels, repo), target)
    return targets


def link_pages(project: Project, repo: Repository) -> None:
    """Link the notebooks of those chapters that have a page."""
    for chapter in project.chapters():
        if (page := project.html / "book" / f"{chapter.stem}.html").exists():
            link_from_page(page, repo)


@console.command
def main() -> int:
    """Parse the command line and write the notebooks."""
    project = command_line(__doc__).parse_args().project
    repo = repository(project.root)
    written = write_notebooks(project, repo, project.html / "notebooks")
    link_pages(project, repo)
    print(f"{len(written)} notebooks in {project.html.relative_to(project.root)}/notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
