"""Run the notebooks as a reader on Colab does: `python -m ci.run_notebooks`.

They run in an empty folder, with the library that their first cell installs. Nothing of the checkout is in reach but
the packages of its environment and, so that it is not fetched again, CIFAR-10. Those that fetch it run a second time
without it and without a network.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode

from atif_lib import console, paths
from ci import processes
from ci.assignments import write_teachers
from ci.check_book import RAW_MYST
from ci.make_colab import write_notebooks
from ci.notebooks import FIGURE, NOT_STARTED, START_SECONDS
from ci.project import Project, Repository, command_line, positive

PACKAGED = ("pyproject.toml", "README.md", "LICENSE", "atif_lib", "data")
NOT_PACKAGED = shutil.ignore_patterns("__pycache__", "cache", "*-smoke-s*.json")
CAPTION = re.compile(r"\*\*Figure \d+\.\d+\.\*\* \S")


def copy_packaged(root: Path, folder: Path) -> None:
    """Copy what the package is made from, as it is now, into a new folder."""
    folder.mkdir(parents=True)
    for name in PACKAGED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=NOT_PACKAGED)
        else:
            shutil.copy(root / name, folder / name)


def snapshot(root: Path, folder: Path) -> str:
    """Commit what the package is made from to a repository of its own; return its address."""
    copy_packaged(root, folder)
    commit_all(folder)
    return folder.as_uri().replace("file:///", "file://localhost/")  # pip's "name @ address" needs a host


def commit_all(folder: Path) -> None:
    """Make a repository of a folder, with one commit and without the settings of who runs this."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    options = ["user.name=test", "user.email=test@example.org", "commit.gpgsign=false", f"core.hooksPath={os.devnull}"]
    git = ["git", *(part for option in options for part in ("-c", option))]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "snapshot"]):
        subprocess.run([*git, *command], cwd=folder, env=clean, check=True)


def colab_like(folder: Path) -> Path:
    """Make an environment with google.colab and all packages of this one but the library; return its Python."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("atif", "__editable__", "pip")):
            (packages / path.name).symlink_to(path)
    colab = folder / "colab" / "google" / "colab"  # not among the links: another package may have a `google` there
    colab.mkdir(parents=True)
    (colab / "__init__.py").touch()
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    (site_packages(python) / "colab.pth").write_text(f"{packages}\n{colab.parents[1]}\n")
    return python


def site_packages(python: Path) -> Path:
    """Return the folder in which an environment's pip installs."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip())


def files(folder: Path) -> set[Path]:
    """List the files below `folder`, less the bytecode that Python keeps."""
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def environment(folder: Path, offline: bool = False) -> dict[str, str]:
    """Return the variables of a reader's process: none of ours, caches and settings below `folder`."""
    ours = ("ATIF", "JUPYTER", "MPL", "PYTHON", "VIRTUAL_ENV", "XDG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own = {"XDG_CACHE_HOME": "offline" if offline else "cache", "JUPYTER_DATA_DIR": "jupyter", "IPYTHONDIR": "ipython"}
    kept |= {name: str(folder / place) for name, place in own.items()}
    if offline:
        kept |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return kept | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def run_notebook(
    python: Path, notebook: Path, folder: Path, offline: bool, attempts: int = 3
) -> tuple[float, list[str]]:
    """Execute a notebook in `folder`; return the seconds, and what is wrong with it.

    A kernel that does not start is started again, so many times in all.
    """
    made = notebook.with_suffix(f".{'offline' if offline else 'run'}.ipynb")
    command = [python, "-m", "papermill", notebook, made, "--no-progress-bar", "--kernel", "python3"]
    command += ["--start-timeout", str(START_SECONDS)]
    begun = time.perf_counter()
    variables = environment(folder.parent, offline)
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    seconds = time.perf_counter() - begun
    if done.returncode and attempts > 1 and NOT_STARTED.search(done.stderr):
        return run_notebook(python, notebook, folder, offline, attempts - 1)
    if done.returncode:
        return seconds, [done.stderr.strip()]
    return seconds, list(faults(nbformat.read(made, as_version=4)))


def faults(notebook: NotebookNode) -> Iterator[str]:
    """Yield each figure that has no numbered caption and each text that is MyST still."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from (f"MyST in the text: {match[0]!r}" for match in RAW_MYST.finditer(cell.source))
            continue
        texts = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
        shown = [text for text in texts if not text.startswith("```python\n")]  # library code has fences in docstrings
        yield from (f"MyST in an output: {m[0]!r}" for text in shown for m in RAW_MYST.finditer(text))
        for output, caption in zip(cell.outputs, [*texts[1:], ""], strict=False):
            if (figure := output.get("metadata", {}).get(FIGURE)) and not CAPTION.match(caption):
                yield f"figure {figure['name']} has no numbered caption"


def run(project: Project, folder: Path, jobs: int) -> dict[str, list[str]]:
    """Install the library by the notebooks' first cell and execute them; return what is wrong with each."""
    python, work = colab_like(folder / "colab"), folder / "work"
    work.mkdir()
    library = Repository(snapshot(project.root, folder / "source"), "main")
    notebooks = write_notebooks(project, library, folder / "notebooks")
    notebooks += write_teachers(project, library, folder / "assignments")
    lent = paths.data_folder() if os.environ.get("ATIF_DATA") else project.root / "data" / "cache"
    lend_images(lent, folder / "cache" / "atif_lib")
    first_cell = nbformat.read(notebooks[0], as_version=4).cells[0].source
    subprocess.run([python, "-c", first_cell], cwd=work, env=environment(folder), check=True)
    shutil.rmtree(folder / "source")
    installed = files(site_packages(python))
    tasks = [(notebook, False) for notebook in notebooks]
    tasks += [(notebook, True) for notebook in notebooks if "data.fetch(" in notebook.read_text(encoding="utf-8")]
    with ThreadPoolExecutor(jobs) as pool:
        try:
            found = dict(pool.map(lambda task: run_and_tell(python, task[0], work, task[1]), tasks))
        except BaseException:
            processes.stop(pool, psutil.Process().children())
            raise
    found["site-packages"] = [f"a notebook wrote {path}" for path in files(site_packages(python)) - installed]
    return found


def run_and_tell(python: Path, notebook: Path, folder: Path, offline: bool) -> tuple[str, list[str]]:
    """Execute a notebook and print how it went; return its name and what is wrong with it."""
    name = f"{notebook.stem}{', offline' * offline}"
    seconds, wrong = run_notebook(python, notebook, folder, offline)
    print(f"{name:34} {seconds:5.1f} s  {f'{len(wrong)} faults' if wrong else 'ran'}", flush=True)
    return name, wrong


def lend_images(source: Path, target: Path) -> None:
    """Copy CIFAR-10 to where a reader's notebook fetches it, if it is here."""
    target.mkdir(parents=True)
    for name in ("cifar10.bin", "cifar10.source"):
        if (source / name).is_file():
            shutil.copy(source / name, target)


@console.command
@processes.interruptible
def main() -> int:
    """Parse the command line, execute and report."""
    parser = command_line(__doc__)
    parser.add_argument("--jobs", type=positive, default=2, help="notebooks to run at once (default 2)")
    arguments = parser.parse_args()
    if not (arguments.project.html / "index.html").is_file():
        print(f"no site in {arguments.project.html}, where figures get their numbers: make book first", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="atif-notebooks-") as folder:
        found = run(arguments.project, Path(folder).resolve(), arguments.jobs)
    for name, wrong in found.items():
        for fault in wrong:
            print(f"\n{name}: {fault}", file=sys.stderr)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
