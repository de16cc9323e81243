"""Make the assignments' notebooks, for students and for teachers: `python -m ci.assignments`.

A lecture's source holds the questions, the solutions and the tests. A student's notebook has neither solutions nor
hidden tests; a teacher's has both. Their marks and metadata are nbgrader's, so that a course may import them:

* `# %% answer="NAME"` begins the cell in which a student defines NAME,
* `# %% tests="NAME" points=2` begins the cell that tests it; an optional task has 0 points,
* any other cell of code is given, and locked.

The students' notebooks belong to the site. The teachers' do not: they go into a folder of their own, laid out as a
course of nbgrader. (That hides the solutions from the site alone: the sources are in the repository.)
"""

import re
import shutil
import sys
from html import escape
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from atif_lib import console
from ci.make_colab import bootstrap, folded, is_code
from ci.notebooks import notebook_of
from ci.project import Project, Repository, command_line, repository

SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN_TESTS = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
LINK = re.compile(r'(<a\b[^>]*href="\.\./assignments/student/(\w+)\.ipynb"[^>]*>.*?</a>)', re.DOTALL)
COLAB = re.compile(r' <a class="assignment-colab".*?</a>', re.DOTALL)
STUB = ["# your code here", "raise NotImplementedError()"]


def replace_regions(source: str, marks: tuple[str, str], lines: list[str]) -> str:
    """Return code with `lines`, indented as the region's first mark, in place of each region and its marks."""
    begin, end = marks
    kept, inside = [], False
    for line in source.split("\n"):
        mark = line.strip()
        if mark not in marks:
            kept += [] if inside else [line]
            continue
        if (mark == begin) == inside:
            raise ValueError(f"{mark!r} has no partner; allowed: {begin!r}, then {end!r}")
        inside = mark == begin
        kept += [line.replace(begin, new) for new in lines] if inside else []
    if inside:
        raise ValueError(f"{begin!r} has no partner; allowed: {begin!r}, then {end!r}")
    return "\n".join(kept).rstrip()


def grading(grade_id: str, points: int | None = None, solution: bool = False) -> NotebookNode:
    """Return nbgrader's metadata of a cell: an answer, tests where there are points, or what is given."""
    tests = points is not None
    found = NotebookNode(grade=tests, grade_id=grade_id, locked=not solution, solution=solution, task=False)
    found.schema_version = 3
    if tests:
        found.points = points
    return found


def read_assignment(path: Path) -> NotebookNode:
    """Read a lecture's source as a notebook with solutions, hidden tests and nbgrader's metadata."""
    notebook = jupytext.read(path, fmt="py:percent")
    begun, given = "", 0
    for cell in filter(is_code, notebook.cells):
        tags = cell.metadata
        if answer := tags.get("answer"):
            if begun or SOLUTION[0] not in cell.source:
                raise ValueError(f"{path.name}: answer={answer!r}; allowed: a solution in it, and its tests behind it")
            begun, found = answer, grading(answer, solution=True)
        elif tests := tags.get("tests"):
            if tests != begun or "points" not in tags:
                raise ValueError(f"{path.name}: tests={tests!r}; allowed: behind its answer, with points")
            begun, found = "", grading(f"{tests}-tests", int(tags["points"]))
        else:
            given += 1
            found = grading(f"given-{given}")
        cell.metadata = NotebookNode(nbgrader=found)
    if begun:
        raise ValueError(f"{path.name}: answer={begun!r}; allowed: its tests behind it")
    return notebook


def assignment(path: Path, repo: Repository, solutions: bool) -> NotebookNode:
    """Return a lecture's notebook, not executed, as a student gets it or, with solutions, as a teacher does."""
    notebook = read_assignment(path)
    if not solutions:
        for cell in filter(is_code, notebook.cells):
            cell.source = replace_regions(cell.source, SOLUTION, STUB)
            cell.source = replace_regions(cell.source, HIDDEN_TESTS, [])
    first = folded(new_code_cell(bootstrap(repo).rstrip()))
    first.metadata.nbgrader = grading("install")
    for cell in notebook.cells:
        if not is_code(cell):
            cell.metadata = NotebookNode()  # jupytext leaves the number of blank lines there
    return notebook_of([first, *notebook.cells])


def write_students(project: Project, repo: Repository, folder: Path) -> list[Path]:
    """Write the students' notebooks into `folder`."""
    return [
        write(assignment(path, repo, solutions=False), folder / f"{path.stem}.ipynb") for path in project.assignments()
    ]


def write_teachers(project: Project, repo: Repository, folder: Path) -> list[Path]:
    """Write the teachers' notebooks into `folder` where nbgrader looks for them: source/NAME/NAME.ipynb."""
    return [
        write(assignment(path, repo, solutions=True), folder / "source" / path.stem / f"{path.stem}.ipynb")
        for path in project.assignments()
    ]


def link_colab(page: Path, repo: Repository) -> None:
    """Put a link to Colab behind each link of a page to a student's notebook, once there is an address."""
    folder = f"https://colab.research.google.com/github/{repo.slug}/blob/gh-pages/assignments/student"

    def both(link: re.Match[str]) -> str:
        return f'{link[0]} <a class="assignment-colab" href="{escape(folder)}/{link[2]}.ipynb">Open in Colab</a>'

    text = COLAB.sub("", before := page.read_text(encoding="utf-8"))
    text = LINK.sub(both, text) if repo.published else text
    if text != before:
        page.write_text(text, encoding="utf-8")


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook, its folders included; return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@console.command
def main() -> int:
    """Parse the command line and write the notebooks."""
    project = command_line(__doc__).parse_args().project
    repo = repository(project.root)
    students, teachers = project.html / "assignments" / "student", project.build / "assignments"
    for folder in (students, teachers / "source"):  # of an older book there may be more
        shutil.rmtree(folder, ignore_errors=True)
    written = write_students(project, repo, students)
    write_teachers(project, repo, teachers)
    for page in sorted((project.html / "book").glob("*.html")):
        link_colab(page, repo)
    print(f"{len(written)} assignments: for students in {students.relative_to(project.root)}, which is in the site;")
    print(f"with solutions in {teachers.relative_to(project.root)}/source, which is not")
    return 0


if __name__ == "__main__":
    sys.exit(main())
