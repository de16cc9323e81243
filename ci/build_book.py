"""Stage the pages and build the site with Jupyter Book, warnings being errors: `python -m ci.build_book`."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import yaml

from atif_lib import console
from ci import processes
from ci.accessible import mend_pages
from ci.execute_chapters import read_status
from ci.icons import embed_icons
from ci.mathjax import write_mathjax
from ci.pages import not_found_page, write_generated
from ci.project import Project, Repository, command_line, repository

FOLDERS = ("_static", "_templates")
NOT_PAGES = {"404.md"}  # rendered on its own, see ci/pages.py


def staged_config(config: dict[str, Any], repo: Repository) -> dict[str, Any]:
    """Return Jupyter Book's configuration: with the repository's button, or with no address before it has one."""
    config = dict(config)
    if repo.published:
        config["repository"] = {"url": repo.url, "branch": repo.branch, "path_to_book": ""}
        config["html"] = {**config.get("html", {}), "use_repository_button": True, "use_issues_button": True}
    else:
        config.pop("repository", None)
    return config


def staged_toc(toc: dict[str, Any], stage: Path, draft: bool) -> dict[str, Any]:
    """Return the table of contents; a draft leaves out the pages that are not written, or not executed, yet."""

    def written(entry: dict[str, Any]) -> bool:
        return any((stage / f"{entry['file']}{suffix}").exists() for suffix in (".md", ".ipynb"))

    entries = [entry for part in toc["parts"] for entry in part["chapters"]]
    missing = [entry["file"] for entry in entries if not written(entry)]
    if missing and not draft:
        raise FileNotFoundError(
            f"_toc.yml names pages that do not exist: {', '.join(missing)}; run the chapters (`make book` does), write "
            "them, or take them out of it (DRAFT=1 builds without them, to look at: links to them will be faults)"
        )
    parts = [{**part, "chapters": [entry for entry in part["chapters"] if written(entry)]} for part in toc["parts"]]
    return {**toc, "parts": [part for part in parts if part["chapters"]]}


def clear_stage(project: Project) -> None:
    """Empty the stage of everything but the executed chapters."""
    executed = {project.notebook(chapter) for chapter in project.chapters()}
    for path in sorted(project.stage.rglob("*"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path) if path.name in FOLDERS else None
        elif path not in executed:
            path.unlink()


def stage_pages(project: Project, draft: bool = False) -> None:
    """Bring together what Jupyter Book reads: pages, references, static files, MathJax and the configuration."""
    clear_stage(project)
    book, target = project.root / "book", project.stage / "book"
    target.mkdir(parents=True, exist_ok=True)
    for path in [*sorted(book.glob("*.md")), book / "references.bib"]:
        if path.name not in NOT_PAGES:
            shutil.copy2(path, target)
    for folder in FOLDERS:
        shutil.copytree(book / folder, target / folder)
    (target / "_static" / "mathjax").mkdir()
    write_mathjax(target / "_static" / "mathjax")
    write_generated(project)
    config = yaml.safe_load((project.root / "_config.yml").read_text(encoding="utf-8"))
    toc = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))
    write_yaml(project.stage / "_config.yml", staged_config(config, repository(project.root)))
    write_yaml(project.stage / "_toc.yml", staged_toc(toc, project.stage, draft))


def write_yaml(path: Path, data: dict[str, Any]) -> None:
    """Write `data` in the order it has."""
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def build(project: Project, draft: bool = False) -> int:
    """Build from nothing: Sphinx repeats no warning for a page that it has not read again."""
    for made in (project.html, project.build / ".doctrees", project.build / "jupyter_execute"):
        shutil.rmtree(made, ignore_errors=True)
    program = shutil.which("jupyter-book", path=sysconfig.get_path("scripts")) or "jupyter-book"
    command = [program, "build", str(project.stage), "--quiet"]
    command += ["--path-output", str(project.root), "--nitpick", "--keep-going", "--all"]
    command += [] if draft else ["--warningiserror"]
    # The stage's configuration names an extension of ours, ci.equation_tags.
    environment = {**os.environ, "PYTHONPATH": str(project.root)}
    return subprocess.run(command, env=environment, check=False).returncode


def add_files(project: Project) -> None:
    """Put into the site what Sphinx does not: the 404 page, the figures with their data, icons of little weight."""
    page = not_found_page(project, repository(project.root))
    (project.html / "404.html").write_text(page, encoding="utf-8")
    made = {name for run in read_status(project).values() for name in run["files"] if name.startswith("figures/")}
    (project.html / "figures").mkdir(exist_ok=True)
    for name in made:  # the folder may hold others, of chapters as they were
        if (project.build / name).is_file():  # else the check of the links says so
            shutil.copy2(project.build / name, project.html / name)
    embed_icons(project.html)
    mend_pages(project.html)


@console.command
@processes.interruptible
def main() -> int:
    """Parse the command line, stage and build."""
    parser = command_line(__doc__)
    parser.add_argument("--draft", action="store_true", help="leave out unwritten pages and only show warnings")
    arguments = parser.parse_args()
    project = arguments.project
    try:
        stage_pages(project, arguments.draft)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    whole = False
    try:
        if failed := build(project, arguments.draft):
            return failed
        add_files(project)
        whole = True
        return 0
    finally:
        if not whole:
            shutil.rmtree(project.html, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
