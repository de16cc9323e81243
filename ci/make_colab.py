"""Make each chapter's notebook for Colab and for download, and link it from its page: `python -m ci.make_colab`.

Colab opens notebooks only and shows MyST as raw text, so the text is turned into plain Markdown here. The notebooks are
not executed: a reader runs them.
"""

import argparse
import re
import sys
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ci.labels import read_labels
from ci.notebooks import KERNEL, read_chapter
from ci.plain_markdown import Labels, plain
from ci.project import Project, Repository, repository

BOOTSTRAP = '''\
# On Colab this installs the book's library, and keeps the torch that Colab brings. Elsewhere it does nothing.
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys


def found(module):
    """Say whether a module could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if found("google.colab") and not found("atif_lib"):
    kept = [name for name in ("torch", "torchvision", "torchaudio") if found(name)]
    pins = [f"{{name}}=={{importlib.metadata.version(name)}}" for name in kept]
    pathlib.Path("atif-constraints.txt").write_text("\\n".join(pins))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "atif-constraints.txt"]
    subprocess.run([*command, "git+{url}@{branch}"], check=True)
    importlib.invalidate_caches()
'''
UNPUBLISHED = """\
# This copy of the book was built before it had a public address: install the library from a checkout of its source
# with `pip install -e ".[torch,book]"`.
"""
MARK = re.compile(r'\n?<p class="notebook-links">.*?</p>', re.DOTALL)


def bootstrap(repo: Repository) -> str:
    """Return the first cell: what makes the library importable on Colab."""
    return BOOTSTRAP.format(url=repo.url, branch=repo.branch) if repo.published else UNPUBLISHED


def colab_notebook(chapter: Path, labels: Labels, repo: Repository) -> NotebookNode:
    """Return a chapter as an unexecuted notebook in plain Markdown, with the bootstrap cell at its head."""
    notebook = read_chapter(chapter)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, labels)
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in ("tags",) if key in cell.metadata})
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(bootstrap(repo).rstrip()))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    notebook.metadata = NotebookNode(kernelspec=dict(KERNEL), language_info={"name": "python"})
    return notebook


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


def make_notebooks(project: Project, repo: Repository) -> list[Path]:
    """Write the notebooks of all chapters and link those that have a page."""
    labels = read_labels(project.root / "book", project.html)
    folder = project.html / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chapter in project.chapters():
        target = folder / f"{chapter.stem}.ipynb"
        nbformat.write(colab_notebook(chapter, labels, repo), target)
        written.append(target)
        page = project.html / "book" / f"{chapter.stem}.html"
        if page.exists():
            link_from_page(page, repo)
    return written


def main() -> int:
    """Parse the command line and write the notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path.cwd())
    project = Project(parser.parse_args().root.absolute())
    written = make_notebooks(project, repository(project.root))
    print(f"{len(written)} notebooks in {project.html.relative_to(project.root)}/notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
