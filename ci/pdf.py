"""Print the book as one PDF, `_build/book.pdf`, from the pages of the site: `python -m ci.pdf`.

The pages follow each other in the order of the table of contents, with the numbers that figures, equations and chapters
have on the site; links between pages lead from place to place in the PDF.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

from atif_lib import console
from ci import browser
from ci.project import Project, command_line

LEFT_OUT = {"api"}  # for looking things up beside the code: a third of the whole, and `help(atif_lib)` says the same
FOLDED_CODE = "details.above-input"  # code that a page folds away; the answers to a "Predict" are shown
REPORT = "report"  # what it folds, tolerances and runs, is for looking up too
FOOTER = (
    '<div style="font-size: 8px; text-align: center; width: 100%">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)
PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
</head>
<body class="whole-book">
<main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article">
<header><p class="book-title">{title}</p>
<nav aria-label="Contents">{contents}</nav></header>
{pages}
</article></div></div></main>
</body>
</html>
"""


def read_parts(project: Project) -> list[tuple[str, list[str]]]:
    """Return the captions of the book's parts with the stems of their pages; the first part is the introduction."""
    toc = yaml.safe_load((project.stage / "_toc.yml").read_text(encoding="utf-8"))
    parts = [("", [toc["root"]]), *((p["caption"], [c["file"] for c in p["chapters"]]) for p in toc["parts"])]
    named = [(caption, [Path(file).name for file in files]) for caption, files in parts]
    return [(caption, [stem for stem in stems if stem not in LEFT_OUT]) for caption, stems in named]


def read_page(project: Project, stem: str) -> BeautifulSoup:
    """Parse one page of the site."""
    return BeautifulSoup((project.html / "book" / f"{stem}.html").read_text(encoding="utf-8"), "html.parser")


def read_head(soup: BeautifulSoup) -> Iterator[str]:
    """Yield the style sheets of a page, and what sets its formulas."""
    for tag in soup.select('link[rel="stylesheet"], script'):
        source = str(tag.get("href") or tag.get("src") or "")
        if tag.name == "link" or "mathjax" in source or tag.get_text().startswith("window.MathJax"):
            for name in {"href", "src"} & set(tag.attrs):
                tag[name] = from_pdf(source)
            yield str(tag)


def from_pdf(address: str) -> str:
    """Return where a file beside the folder `book` of the site is from the folder of the PDF."""
    return re.sub(r"^\.\./", "html/", address)


def article(soup: BeautifulSoup, stem: str, stems: set[str]) -> Tag:
    """Return what a page says, ready to stand among the others."""
    found = soup.select_one("article.bd-article")
    assert found is not None
    for tag in found.select(FOLDED_CODE if stem != REPORT else "details"):
        tag.decompose()
    for tag in found.select("details"):
        tag["open"] = ""
    for tag in found.select("[id]"):
        if tag.find_parent("svg") is None:
            tag["id"] = f"{stem}--{tag['id']}"
    for tag in found.select("a[href]"):
        if (target := anchor(str(tag["href"]), stem, stems)) is None:
            tag.unwrap()  # to a file of the site that is not in the PDF
        else:
            tag["href"] = target
    for tag in found.select("img[src]"):
        tag["src"] = from_pdf(str(tag["src"]))
    found.name, found.attrs = "section", {"id": stem, "class": "whole-page"}
    return found


def anchor(address: str, stem: str, stems: set[str]) -> str | None:
    """Return where a link of a page leads in the PDF; None where that is not in it."""
    parts = urlsplit(address)
    if parts.scheme:
        return address
    page = Path(unquote(parts.path)).stem if parts.path else stem
    if page not in stems or "slides" in parts.path:
        return None
    return f"#{page}--{unquote(parts.fragment)}" if parts.fragment else f"#{page}"


def whole_book(project: Project) -> str:
    """Return all pages of the site as one, with a table of contents before them."""
    parts = read_parts(project)
    stems = {stem for _, names in parts for stem in names}
    contents, pages, head, title = [], [], "", ""
    for caption, names in parts:
        if caption and names:
            contents.append(f"<p>{caption}</p>")
        for stem in names:
            soup = read_page(project, stem)
            if not head:
                head, brand = "\n".join(read_head(soup)), soup.select_one(".navbar-brand .title")
                title = brand.get_text(strip=True) if brand else ""
            heading = soup.select_one("article h1")
            assert heading is not None
            for link in heading.select("a.headerlink"):
                link.decompose()
            contents.append(f'<a href="#{stem}">{heading.decode_contents()}</a>')
            pages.append(str(article(soup, stem, stems)))
    return PAGE.format(title=title, head=head, contents="\n".join(contents), pages="\n".join(pages))


def print_book(project: Project) -> Path:
    """Print the site into one PDF and return where it is."""
    page_file, target = project.build / "book.html", project.build / "book.pdf"
    page_file.write_text(whole_book(project), encoding="utf-8")
    with browser.browser() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(0)  # a slow machine needs minutes for some thousand formulas
        browser.open_page(page, page_file)
        page.pdf(
            path=target,
            format="A4",
            scale=0.82,  # of the size on the screen: 10 points instead of 12
            margin={"top": "16mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            print_background=True,
            outline=True,
            tagged=True,
        )
    page_file.unlink()
    return target


@console.command
def main() -> int:
    """Parse the command line and print."""
    project = command_line(__doc__).parse_args().project
    try:
        target = print_book(project)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The book is in {target.relative_to(project.root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
