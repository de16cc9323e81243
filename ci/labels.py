"""Read what the book calls its equations, headings, exercises, figures, pages and references."""

import re
from pathlib import Path

from bs4 import BeautifulSoup
from pybtex.database import Person, parse_file

from ci.notebooks import read_chapter
from ci.plain_markdown import Labels

EQUATION = re.compile(r"\$\$(?P<body>(?:(?!\$\$).)*?)\$\$\s*\((?P<label>[\w:-]+)\)", re.DOTALL)
TAG = re.compile(r"\\tag\{([^{}]*)\}")
HEADING = re.compile(r"^\((?P<label>[\w:-]+)\)=\s*\n+#+ (?P<name>.+)$", re.MULTILINE)
EXERCISE = re.compile(r"\{exercise(?:-start)?\}[ \t]*(?P<title>.*)\n(?:\s*:\w+:.*\n)*?\s*:label:[ \t]*(?P<label>\S+)")
CHAPTER = re.compile(r"\d\d(?=_)")
MADE = {
    "report": "the report of what reproduces",
    "status": "the table of the chapters' runs",
}  # pages without a source
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def page_text(path: Path) -> str:
    """Return the Markdown of a page or of a chapter."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in read_chapter(path).cells if cell.cell_type == "markdown")


def surname(person: Person) -> str:
    """Return a person's family name without the braces of BibTeX."""
    names = [*(person.prelast_names or []), *(person.last_names or [])]
    return " ".join(names).translate({ord("{"): None, ord("}"): None})


def read_citations(bibliography: Path) -> dict[str, tuple[str, str]]:
    """Return authors and year of every reference."""
    citations = {}
    for key, entry in parse_file(str(bibliography), bib_format="bibtex").entries.items():
        names = [surname(person) for person in entry.persons.get("author", [])]
        authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names) or key
        citations[key] = (authors, entry.fields.get("year", "n.d."))
    return citations


def read_figures(html: Path) -> dict[str, str]:
    """Return the numbers of the figures, which only the built pages know."""
    figures = {}
    for page in sorted(html.glob("book/*.html")):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for figure in soup.select("figure[id]"):
            if number := figure.select_one(".caption-number"):
                figures[str(figure["id"])] = number.get_text().strip()
    return figures


def read_labels(book: Path, html: Path) -> Labels:
    """Read the sources in `book` and the site in `html`."""
    labels = Labels(names=read_figures(html), pages=dict(MADE), citations=read_citations(book / "references.bib"))
    for path in [*sorted(book.glob("*.md")), *sorted(book.glob("[0-9][0-9]_*.py"))]:
        text = page_text(path)
        if number := CHAPTER.match(path.stem):
            labels.pages[path.stem] = f"Chapter {int(number[0])}"
        elif title := TITLE.search(text):
            labels.pages[path.stem] = title[1].strip()
        for match in EQUATION.finditer(text):
            if tag := TAG.search(match["body"]):
                labels.equations[match["label"]] = tag[1]
        labels.names |= {match["label"]: match["name"].strip() for match in HEADING.finditer(text)}
        labels.names |= {m["label"]: f"Exercise: {m['title']}".rstrip(": ") for m in EXERCISE.finditer(text)}
    return labels
