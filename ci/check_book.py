"""Check the built site: `python -m ci.check_book`. It lists every fault and fails if there is one.

A page must be readable with no network, by a screen reader too, and lead nowhere that does not exist. Where there is a
browser, it looks at each page too, see `ci.check_access`.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from atif_lib import console
from ci import browser, check_access
from ci.mathjax import MISSING
from ci.notebooks import FILES, mentions
from ci.project import command_line

LOADING = {  # the attributes from which a browser loads something by itself
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
REMOTE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
CSS_URL = re.compile(r"(?:url\(\s*|@import\s+)[\"']?\s*((?:https?:)?//[^\"')\s;]+)", re.IGNORECASE)
SCRIPT_URL = re.compile(r"[\"'](https?://[^\"']*(?:cdn|unpkg|jsdelivr|cloudflare|googleapis)[^\"']*)", re.IGNORECASE)
RAW_MYST = re.compile(r"\{[a-z]+(?::[a-z]+)?\}`[^`]*`|^:{3,}\{?[a-z]|`{3}\{[a-z-]+\}|^\([\w-]+\)=$", re.MULTILINE)
NOT_LOCAL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
REPR = re.compile(r"\b(?:tensor|array|np\.\w+)\(")  # what Python shows of a number that is not a plain one
HOME = re.compile(r"(?<![\w.~/:])/(?:home|Users|root)/[\w.-]+")
REDIRECT = re.compile(r"url=(.+)", re.IGNORECASE)

HEAVY = 2_500_000  # bytes; half of what the theme and MathJax weigh as they come

Fault = tuple[str, str]  # a file of the site and what is wrong in it


@cache
def read_page(path: Path) -> BeautifulSoup:
    """Parse a page once."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def redirect(soup: BeautifulSoup) -> Tag | None:
    """Return the tag by which a page does nothing but lead to another."""
    return soup.select_one('meta[http-equiv="refresh" i]')


def check_language_and_title(soup: BeautifulSoup) -> Iterator[str]:
    """Yield a fault unless the page says that it is English and has one main heading."""
    root = soup.find("html")
    if not isinstance(root, Tag) or root.get("lang") != "en":
        yield 'the page has no lang="en"'
    if (count := len(soup.find_all("h1"))) != 1:
        yield f"{count} <h1>, must be 1"


def check_images(soup: BeautifulSoup) -> Iterator[str]:
    """Yield every image that has no text for who cannot see it."""
    for image in soup.find_all("img"):
        # An image that repeats the text beside it says so by role or aria-hidden; such are the theme's second logos.
        hidden = image.get("aria-hidden") == "true" or image.get("role") == "presentation"
        if not hidden and not str(image.get("alt") or "").strip():
            yield f"no alt text: <img src={image.get('src')!r}>"
    for svg in soup.find_all("svg"):
        title = svg.find("title")
        named = svg.get("aria-label") or svg.get("aria-labelledby") or (title and title.get_text(strip=True))
        if not named and svg.get("aria-hidden") != "true":
            yield "an inline <svg> has no <title>, aria-label or aria-hidden"


def check_figures(soup: BeautifulSoup) -> Iterator[str]:
    """Yield every figure of a chapter that does not link all of its files."""
    for figure in soup.select("div.cell figure[id^='fig-']"):
        linked = {str(link["href"]).rpartition(".")[2] for link in figure.select("a[href][download]")}
        if missing := [kind.upper() for kind in FILES if kind not in linked]:
            yield f"the figure {figure['id']} does not link its {', '.join(missing)}"


def check_formulas(soup: BeautifulSoup) -> Iterator[str]:
    """Yield what a formula needs and the site's MathJax does not have."""
    for formula in soup.select(".math, .reveal section"):
        for found in MISSING.finditer(formula.get_text()):
            yield f"{found[0]} in a formula; ci/mathjax.py leaves it out of MathJax"


def check_weight(soup: BeautifulSoup, page: Path) -> Iterator[str]:
    """Yield a fault if what a page loads is heavier than a slow line bears."""
    loading = soup.select("script[src], img[src], link[rel=stylesheet]")
    names = {str(tag.get("src") or tag.get("href")) for tag in loading}
    files = [page.parent / unquote(urlsplit(name).path) for name in names if not NOT_LOCAL.match(name)]
    if (weight := sum(file.stat().st_size for file in files if file.is_file())) > HEAVY:
        yield f"the page loads {weight / 1e6:.1f} MB, must be {HEAVY / 1e6:.1f} or less"


def check_offline(soup: BeautifulSoup) -> Iterator[str]:
    """Yield everything that a page would load from the network."""
    for name, attributes in LOADING.items():
        for tag in soup.find_all(name):
            for attribute in attributes:
                value = str(tag.get(attribute) or "")
                if any(REMOTE.match(part) for part in value.split(",")) and "canonical" not in (tag.get("rel") or []):
                    yield f"loads from the network: <{name} {attribute}={value!r}>"
    for style in [*soup.find_all("style"), *soup.select("[style]")]:
        for url in CSS_URL.findall(style.get_text() if style.name == "style" else str(style["style"])):
            yield f"a style loads from the network: {url}"
    for script in soup.find_all("script", src=False):
        for url in SCRIPT_URL.findall(script.get_text()):
            yield f"an inline script names a CDN: {url}"


def check_text(soup: BeautifulSoup, folders: tuple[str, ...]) -> Iterator[str]:
    """Yield MyST that was not rendered, objects in a table's cell, and folders of the machine that built the page."""
    text = soup.get_text("\n")
    for cell in soup.select("td"):
        if REPR.search(cell.get_text()):
            yield f"an object in the place of a number: {cell.get_text(strip=True)}"
    shown = BeautifulSoup(str(soup), "html.parser")
    for code in shown.find_all(["pre", "code", "script", "style"]):
        code.decompose()
    for match in RAW_MYST.finditer(shown.get_text()):
        yield f"MyST that was not rendered: {match[0]!r}"
    for match in HOME.finditer(text):
        yield f"a path of the building machine: {match[0]}"
    left = str(soup)
    for folder in folders:
        if mentions(folder).search(left):
            yield f"a path of the building machine: {folder}"


def check_links(soup: BeautifulSoup, page: Path, html: Path) -> Iterator[str]:
    """Yield every link, inside the site, to a file or to an anchor that is not there."""
    base = soup.find("base")
    if isinstance(base, Tag):
        return  # the 404 page: its links are absolute, below an address that only the server knows
    for tag, attribute in [(tag, name) for name in ("href", "src") for tag in soup.select(f"[{name}]")]:
        url = str(tag[attribute]).strip()
        if NOT_LOCAL.match(url):
            continue
        parts = urlsplit(url)
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            yield f"broken link: {url}"
        elif not target.is_relative_to(html.resolve()):
            yield f"a link leaves the site: {url}"
        elif parts.fragment and target.suffix == ".html" and not has_anchor(target, unquote(parts.fragment)):
            yield f"broken anchor: {url}"


def has_anchor(page: Path, name: str) -> bool:
    """Say whether a page has the anchor `name`."""
    return read_page(page).find(id=name) is not None or read_page(page).select_one(f"a[name={name!r}]") is not None


def check_redirect(meta: Tag, page: Path) -> Iterator[str]:
    """Yield a fault if a redirect leads nowhere."""
    match = REDIRECT.search(str(meta["content"]))
    if match is None or not (page.parent / match[1].strip(" '\"")).is_file():
        yield f"the redirect leads nowhere: {meta}"


def check_slides(soup: BeautifulSoup) -> Iterator[str]:
    """Yield every slide of a lecture without a title or without notes for who speaks."""
    for number, slide in enumerate(soup.select(".reveal .slides section"), start=1):
        if slide.find(["h1", "h2"]) is None:
            yield f"slide {number} has no title"
        notes = slide.select_one("aside.notes")
        if notes is None or not notes.get_text(strip=True):
            yield f"slide {number} has no notes"


def check_page(page: Path, html: Path, folders: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield everything that is wrong with one page."""
    soup = read_page(page)
    if (meta := redirect(soup)) is not None:
        yield from check_redirect(meta, page)
        return
    yield from check_language_and_title(soup)
    yield from check_images(soup)
    yield from check_figures(soup)
    yield from check_formulas(soup)
    yield from check_weight(soup, page)
    yield from check_slides(soup)
    yield from check_offline(soup)
    yield from check_text(soup, folders)
    yield from check_links(soup, page, html)


def check_stylesheet(path: Path) -> Iterator[str]:
    """Yield everything that a style sheet or a drawing would load from the network."""
    for url in CSS_URL.findall(path.read_text(encoding="utf-8")):
        yield f"loads from the network: {url}"


def check_site(html: Path, folders: tuple[str, ...] = ()) -> list[Fault]:
    """Return every fault of the site in `html`."""
    read_page.cache_clear()
    if not (html / "index.html").is_file():
        return [("index.html", "there is no such page")]
    faults: list[Fault] = []
    pages = [page for page in sorted(html.rglob("*.html")) if "_static" not in page.relative_to(html).parts]
    for page in pages:
        faults += [(page.relative_to(html).as_posix(), fault) for fault in check_page(page, html, folders)]
    for path in sorted([*html.rglob("*.css"), *html.rglob("*.svg")]):
        faults += [(path.relative_to(html).as_posix(), fault) for fault in check_stylesheet(path)]
    return faults


@console.command
def main() -> int:
    """Parse the command line, check and report."""
    project = command_line(__doc__).parse_args().project
    faults = check_site(project.html, (str(project.root), sys.prefix))
    if browser.find() is None:
        print(f"What only a browser sees was left out of the check. {browser.MISSING}", file=sys.stderr)
    elif not faults:
        faults = check_access.check_site(project.html, every=False)
    for file, fault in faults:
        print(f"{file}: {fault}", file=sys.stderr)
    pages = len(list(project.html.rglob("*.html")))
    print(f"{pages} pages checked: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
