"""Make a chapter's notebook and clean an executed one: what reaches the page, and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
FIGURE = "atif_figure"  # the key under which atif_lib.results.figures.show leaves a figure's alt text, caption and name
FILES = {"svg": "drawing", "png": "image", "csv": "data"}  # what figures.show saves
KEPT_CELL_METADATA = {"tags", "mystnb"}
START_SECONDS = 600  # that a kernel may take to start: the machine may be busy
# No cell has run; mostly another process took one of the kernel's ports.
NOT_STARTED = re.compile(r"Kernel (died before replying|didn't respond)")
PROGRESS = re.compile(r"\d+%\|.*\||\d+(it|batch|epoch)s? \[\d\d:\d\d")
LIBRARY = {"code_prompt_show": "Show the library's code", "code_prompt_hide": "Hide the library's code"}
ANSWER = {"code_prompt_show": "Show the answer", "code_prompt_hide": "Hide the answer"}
WIDGET = "application/vnd.jupyter.widget-view+json"


def read_chapter(path: Path) -> NotebookNode:
    """Read a py:percent chapter as a notebook; papermill needs the kernel's language in it."""
    notebook = jupytext.read(path, fmt="py:percent")
    if not any("parameters" in tags(cell) for cell in notebook.cells):
        raise ValueError(f'{path.name}: no cell is tagged "parameters"; one must be, with `profile = "smoke"` in it')
    if not title(notebook):
        raise ValueError(f"{path.name}: no title; one must stand in a cell of text, as `# Title`")
    notebook.metadata = NotebookNode(kernelspec=dict(KERNEL), language_info={"name": "python"})
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def title(notebook: NotebookNode) -> str:
    """Return the text of the first `# Heading`; an empty one where there is none."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    match = re.search(r"^# (.+)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def figure_names(notebook: NotebookNode) -> list[str]:
    """Return the names of the figures in a cleaned notebook."""
    figures = [cell.metadata["mystnb"].get("figure") for cell in notebook.cells if "mystnb" in cell.metadata]
    return [figure["name"].removeprefix("fig-") for figure in figures if figure]


def clean(notebook: NotebookNode, names: Mapping[str, str]) -> NotebookNode:
    """Return an executed notebook as it is published.

    Args:
        notebook: what papermill returned.
        names: what each folder of this machine is called on the page, such as {"/home/me/book": "."}.
    """
    cells = [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]
    cells = [part for cell in cells for part in split_figures(clean_cell(cell, names))]
    return notebook_of(cells)


def notebook_of(cells: list[NotebookNode]) -> NotebookNode:
    """Return a notebook for Python of some cells, which get numbers: jupytext draws random ids, others in each run."""
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})


def clean_cell(cell: NotebookNode, names: Mapping[str, str]) -> NotebookNode:
    """Drop a cell's timings and progress bars, hide the cell of parameters, and say what a ``hide-cell`` folds."""
    cell.metadata = NotebookNode({key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA})
    if "parameters" in tags(cell):
        cell.metadata.tags = [*tags(cell), "remove-input"]
    if "hide-cell" in tags(cell):
        cell.metadata.mystnb = NotebookNode(LIBRARY)
    if cell.cell_type == "code":
        cell.outputs = [output for output in cell.outputs if clean_output(output, names)]
    return cell


def clean_output(output: NotebookNode, names: Mapping[str, str]) -> bool:
    """Clean one output in place; return whether the page shows it. Standard error is for the log, not the page."""
    if output.output_type == "stream":
        output.text = hide_paths(without_progress(output.text), names)
        return output.name == "stdout" and bool(output.text.strip())
    if WIDGET in output.get("data", {}):
        return False
    for kind, text in output.get("data", {}).items():
        if isinstance(text, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            output.data[kind] = hide_paths(text, names)
    return True


def without_progress(text: str) -> str:
    """Return what a terminal would still show: the end of each rewritten line, and no progress bar."""
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return "\n".join(line for line in lines if not PROGRESS.search(line))


def hide_paths(text: str, names: Mapping[str, str]) -> str:
    """Replace this machine's folders by their names, the longest first; the root of a disk is none."""
    for folder in sorted(names, key=len, reverse=True):
        if len(Path(folder).parts) > 1:
            text = mentions(folder).sub(lambda _, name=names[folder]: name, text)
    return text


def mentions(folder: str) -> re.Pattern[str]:
    """Find a folder in a text, as it may be spelt there, and no longer path that only begins or ends like it."""
    spelt = {folder, Path(folder).as_posix(), folder.replace("\\", "\\\\")}
    return re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, spelt))})(?![\w-])")


def split_figures(cell: NotebookNode) -> list[NotebookNode]:
    """Give each figure a cell of its own, with the metadata from which MyST-NB makes a numbered, captioned figure.

    MyST-NB reads caption, name and alt text from the cell and applies them to every output in it. The outputs of a cell
    tagged ``hide-output`` answer a "Predict": they are folded behind a button that says so, apart from the code.
    """
    if cell.cell_type != "code":
        return [cell]
    parts = [cell]
    outputs, cell.outputs = cell.outputs, []
    answer = "hide-output" in tags(cell)
    for output in outputs:
        figure = output.get("metadata", {}).pop(FIGURE, None)
        first_answer = answer and len(parts) == 1
        if first_answer or (parts[-1].outputs and (figure or "figure" in parts[-1].metadata.get("mystnb", {}))):
            kept = [tag for tag in tags(cell) if tag != "hide-input"]
            # Not an empty cell: MyST-NB would skip it and its outputs.
            parts.append(nbformat.v4.new_code_cell("# output", metadata={"tags": [*kept, "remove-input"]}))
        parts[-1].outputs.append(output)
        if figure:
            parts[-1].metadata["mystnb"] = figure_metadata(figure)
        if answer:
            parts[-1].metadata.setdefault("mystnb", NotebookNode()).update(ANSWER)
    return parts


def figure_metadata(figure: Mapping[str, str]) -> NotebookNode:
    """Return MyST-NB's cell metadata for a figure that ``figures.show`` displayed, with links to its files."""
    name = figure["name"]
    # HTML, since Sphinx would look for the files among the sources; ci/build_book.py puts them into the site.
    links = " ".join(
        f'<a href="../figures/{name}.{kind}" download>{kind.upper()}'
        f'<span class="visually-hidden"> {what} of the figure {name}</span></a>'
        for kind, what in FILES.items()
    )
    caption = f'{figure["caption"]} <span class="figure-files">{links}</span>'
    node = nbformat.from_dict({"image": {"alt": figure["alt"]}, "figure": {"caption": caption, "name": f"fig-{name}"}})
    assert isinstance(node, NotebookNode)
    return node
