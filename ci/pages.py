"""The pages that are made rather than written: the status table, the report, the summary and the 404 page."""

from typing import Any

from markdown_it import MarkdownIt

from atif_lib.results import records, report
from ci import slides
from ci.execute_chapters import read_status
from ci.project import Project, Repository

SUMMARY = "summary.md"

STATUS_HEAD = """# When each chapter ran

Every number and figure in the chapters was made by running them. This table is written by that run: when it was (UTC),
for how long, with which profile, and from which commit of the source. `smoke` is the profile of the automatic checks:
seconds a chapter, and never shown as a result. A run record, which a chapter names where it shows one, has its own date
and device.

| Chapter | Ran at (UTC) | Seconds | Profile | Commit |
|:--|:--|--:|:--|:--|
"""


def status_page(status: dict[str, Any]) -> str:
    """Render the record of the chapters' runs as a page."""
    rows = [
        f"| {{doc}}`{name}` | {run['started'][:16].replace('T', ' ')} | {run['seconds']:.1f} "
        f"| {run['profile']} | `{run['commit']}` |"
        for name, run in sorted(status.items())
    ]
    sets = sorted({tuple(run["versions"].items()) for run in status.values()})
    versions = [", ".join(f"{package} {version}" for package, version in row) for row in sets]
    return STATUS_HEAD + "\n".join(rows) + "\n\nVersions: " + "; ".join(versions) + ".\n"


def summary_page(source: str) -> str:
    """Return the summary with its numbers, which come from the run records as those of the slides do.

    Raises:
        SlideError: a number that was typed by hand, or a placeholder that names no record.
    """
    if typed := slides.TYPED.search(slides.PLACEHOLDER.sub("", source)):
        raise slides.SlideError(f"book/summary.md: {typed[0]!r} is typed; allowed: a placeholder that the records fill")
    return slides.fill(source, records.load_all())


def not_found_page(project: Project, repository: Repository) -> str:
    """Render book/404.md as one file that needs no other, since a server sends it for an address at any depth."""
    body = MarkdownIt().render((project.root / "book" / "404.md").read_text(encoding="utf-8"))
    name = repository.slug.split("/")[1]
    base = f"/{name}/" if repository.published and not name.endswith(".github.io") else "/"
    style = (project.root / "book" / "_static" / "404.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>Page not found</title>\n<base href="{base}">\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def write_generated(project: Project) -> None:
    """Write the generated pages among the staged ones."""
    (project.stage / "book" / "status.md").write_text(status_page(read_status(project)), encoding="utf-8")
    (project.stage / "book" / "report.md").write_text(report.report_markdown(), encoding="utf-8")
    source = (project.root / "book" / SUMMARY).read_text(encoding="utf-8")
    (project.stage / "book" / SUMMARY).write_text(summary_page(source), encoding="utf-8")
