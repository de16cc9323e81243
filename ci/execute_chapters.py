"""Execute the chapters with papermill into cleaned notebooks: `python -m ci.execute_chapters --profile smoke`.

A chapter runs again only when something that it depends on has changed. One that fails fails the build, and no notebook
of it, neither a half-run nor an older one, is left for the site.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from atif_lib import console, paths
from atif_lib.results.environment import versions
from atif_lib.results.records import PROFILES
from ci import processes
from ci.notebooks import NOT_STARTED, START_SECONDS, clean, figure_names, read_chapter, title
from ci.project import Project, command_line, positive

PACKAGES = ("torch", "spikingjelly", "jupyter-book")
# A change in any of these may change what a chapter shows.
DEPENDENCIES = (
    "atif_lib/**/*.py",
    "data/results/**/*",
    "data/weights/**/*",
    "data/manifest.yml",
    "requirements.lock",
    "ci/notebooks.py",
)
MADE_HERE = {"digits", "keywords"}  # stand-ins, which a chapter makes where it needs them


def shared_key(project: Project, profile: str) -> str:
    """Hash what every chapter depends on: library, records, pinned packages, profile, and data and weights here."""
    digest = hashlib.sha256(profile.encode())
    found = {path for pattern in DEPENDENCIES for path in project.root.glob(pattern) if path.is_file()}
    if os.environ.get("ATIF_RESULTS"):
        found |= {path for folder in paths.results_folders() for path in folder.rglob("*.json")}
    for path in sorted(path for path in found if "-smoke-s" not in path.name):  # smoke runs are shown nowhere
        digest.update(f"\0{os.path.relpath(path, project.root)}\0".encode() + path.read_bytes())
    for path in local_weights(project.root):
        digest.update(f"\0weights {path.parent.name} {sha256(path)}".encode())
    for name in data_state(project.root):
        digest.update(f"\0data {name}".encode())
    return digest.hexdigest()


def local_weights(root: Path) -> list[Path]:
    """List the weights of runs made here, which a chapter may take in place of the committed ones; of no smoke runs."""
    folder = paths.runs_folder() if os.environ.get("ATIF_RUNS") else root / "_build" / "runs"
    runs = sorted(folder.glob("*/*.safetensors"))
    return [path for path in runs if "-smoke-s" not in path.parent.name and not path.match("*-validation/*")]


def data_state(root: Path) -> list[str]:
    """List the data sets that are here: where one is missing the chapters fall back to a stand-in."""
    folder = paths.data_folder() if os.environ.get("ATIF_DATA") else root / "data" / "cache"
    return sorted(f"{path.name} {path.stat().st_size}" for path in folder.glob("*.bin") if path.stem not in MADE_HERE)


def chapter_key(source: Path, shared: str) -> str:
    """Hash what one chapter depends on."""
    return hashlib.sha256(shared.encode() + source.read_bytes()).hexdigest()


def run_notebook(source: Path, profile: str, figures: Path, threads: int | None, attempts: int = 3) -> dict[str, Any]:
    """Execute one chapter in this process's environment; return the notebook, its seconds or its error.

    A kernel that does not start is started again, so many times in all.
    """
    import papermill

    os.environ.update(ATIF_FIGURES=str(figures), TQDM_DISABLE="1", JUPYTER_PREFER_ENV_PATH="1", PYTHONHASHSEED="0")
    os.environ["PYTHONPATH"] = str(source.parents[1])  # the library beside the book, whatever was installed
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        notebook = papermill.execute_notebook(
            read_chapter(source),
            None,
            parameters={"profile": profile},
            progress_bar=False,
            cwd=source.parent,
            start_timeout=START_SECONDS,
            extra_arguments=["--log-level=CRITICAL"],
        )
    except Exception as error:  # whatever went wrong is the chapter's, and is shown with its traceback
        if attempts > 1 and NOT_STARTED.search(str(error)):
            return run_notebook(source, profile, figures, threads, attempts - 1)
        return {"error": f"{type(error).__name__}: {error}"}
    seconds = round(time.perf_counter() - clock, 1)
    return {"notebook": notebook, "started": started.isoformat(timespec="seconds"), "seconds": seconds}


def git_commit(root: Path) -> str:
    """Return the short commit of the checkout, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+changes", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError:  # git is not installed
        return "no commit"
    return result.stdout.strip() or "no commit"


def page_names(project: Project) -> dict[str, str]:
    """Say what this machine's folders are called on a page."""
    return {str(project.root.resolve()): ".", sys.prefix: "<environment>", str(Path.home()): "~"}


def publish(project: Project, source: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write the cleaned notebook; return what the record of the chapters' runs says of it."""
    for cell in result["notebook"].cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr" and output.text.strip():
                tqdm.write(f"{source.stem}, standard error (not on the page): {output.text.strip()}")
    notebook = clean(result["notebook"], page_names(project))
    target = project.notebook(source)
    write(target, nbformat.writes(notebook))
    drawn = [path for name in figure_names(notebook) for path in sorted(project.figures.glob(f"{name}.*"))]
    files = {path.relative_to(project.build).as_posix(): sha256(path) for path in [target, *drawn]}
    return {"title": title(notebook), "files": files}


def write(path: Path, text: str) -> None:
    """Write a text and a line end whole or not at all, into a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(path, lambda file: file.write(f"{text}\n".encode()))


def sha256(path: Path) -> str:
    """Hash a file; return an empty text where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def withdraw(project: Project, names: Iterable[str], status: dict[str, Any]) -> None:
    """Remove the notebooks and the records of chapters that may not be published."""
    for name in names:
        (project.stage / "book" / f"{name}.ipynb").unlink(missing_ok=True)
        status.pop(name, None)


def read_status(project: Project) -> dict[str, Any]:
    """Read the record of the chapters that have run; of a damaged one nothing counts."""
    try:
        found = json.loads(project.status.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    runs = found if isinstance(found, dict) else {}
    return {name: run for name, run in runs.items() if isinstance(run, dict) and "files" in run}


def write_status(project: Project, status: dict[str, Any]) -> None:
    """Write the record of the chapters that have run, in the book's order."""
    write(project.status, json.dumps(dict(sorted(status.items())), indent=2, ensure_ascii=False))


def unchanged(project: Project, keys: dict[Path, str], status: dict[str, Any]) -> set[Path]:
    """Return the chapters that were made from what is there now, and whose notebook and figures are as they were."""
    return {
        source
        for source, key in keys.items()
        if (run := status.get(source.stem, {})).get("key") == key
        and all(sha256(project.build / name) == known for name, known in run["files"].items())
    }


def execute(project: Project, profile: str, jobs: int = 1) -> dict[str, str]:
    """Execute the chapters that changed; return the errors of those that failed."""
    status, shared = read_status(project), shared_key(project, profile)
    keys = {source: chapter_key(source, shared) for source in project.chapters()}
    current = unchanged(project, keys, status)
    found = {path.stem for path in (project.stage / "book").glob("[0-9][0-9]_*.ipynb")} | set(status)
    withdraw(project, found - {source.stem for source in current}, status)
    write_status(project, status)
    stale = [source for source in keys if source not in current]
    print(f"{len(stale)} of {len(keys)} chapters to run, profile {profile}", flush=True)
    errors: dict[str, str] = {}
    facts = {"profile": profile, "commit": git_commit(project.root), "versions": versions(PACKAGES)}
    with closing(run_all(project, stale, profile, jobs)) as results:
        for source, result in results:
            if "error" in result:
                errors[source.stem] = result["error"]
                continue
            times = {name: result[name] for name in ("started", "seconds")}
            status[source.stem] = {**publish(project, source, result), "key": keys[source], **times, **facts}
            write_status(project, status)
    return errors


def run_all(project: Project, sources: list[Path], profile: str, jobs: int) -> Generator[tuple[Path, dict[str, Any]]]:
    """Run chapters in processes of their own and yield each as it ends, with a progress bar.

    Where the generator is left before its end, as at an interrupt, all that runs is ended.
    """
    if not sources:
        return
    workers = min(jobs, len(sources))
    threads = 1 if workers > 1 else None  # two kernels with all the threads each would fight over the cores
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool,
        tqdm(total=len(sources), unit="chapter") as bar,
    ):
        try:
            futures: dict[Future[dict[str, Any]], Path] = {
                pool.submit(run_notebook, source, profile, project.figures, threads): source for source in sources
            }
            for future in as_completed(futures):
                bar.set_postfix_str(futures[future].stem)
                bar.update()
                yield futures[future], future.result()
        except BaseException:
            processes.stop(pool, multiprocessing.active_children())
            raise


@console.command
@processes.interruptible
def main() -> int:
    """Parse the command line, execute and report."""
    parser = command_line(__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="smoke")
    parser.add_argument("--jobs", type=positive, default=2, help="chapters to run at once (default 2)")
    arguments = parser.parse_args()
    project = arguments.project
    paths.make_absolute()  # a chapter runs in the folder of its source
    project.figures.mkdir(parents=True, exist_ok=True)
    try:
        paths.results_folders()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    errors = execute(project, arguments.profile, arguments.jobs)
    for name, error in errors.items():
        print(f"\nbook/{name}.py failed:\n{error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
