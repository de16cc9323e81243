"""Look at the built pages with a browser, as readers meet them: `python -m ci.check_access`.

axe-core reads each page in both themes and at the widths of a telephone, a tablet and a desk, with all that is folded
open. Beside it: no formula is a stop for the tab key or an error, no page is wider than its screen, and the summary
prints on one sheet. With `--in-turn` each page is looked at in one theme and at one width.
"""

import re
import sys
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize
from tqdm import tqdm

from atif_lib import console
from ci import browser
from ci.project import command_line

SCREENS = tuple(product(("light", "dark"), (1440, 320, 820)))
HEIGHT = 900
PAGES = ("book/*.html", "search.html", "genindex.html", "404.html")
SUMMARY = "summary"
EXPERIMENTAL = "label-content-name-mismatch"  # a rule that axe-core leaves out unless it is asked for
FORMULAS = ["mjx-container"]  # each is a drawing, hidden, with words for a screen reader
CODE = ["pre"]  # a third of the time, and of two styles in all: looked at where every screen is
LARGE = "api"  # so many elements that to compare their colours takes minutes: it is done where every screen is
OPTIONS: dict[str, Any] = {"resultTypes": ["violations"], "rules": {EXPERIMENTAL: {"enabled": True}}, "preload": False}
OPEN = """async () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  await Promise.allSettled(document.getAnimations().map(fade => fade.finished));  // pale while it fades in
}"""
SEEN = """() => ({
  stops: document.querySelectorAll("mjx-container[tabindex], mjx-container [tabindex]").length,
  errors: document.querySelectorAll("mjx-container [data-mml-node=merror]").length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


def check_page(page: Page, every: bool, large: bool = False) -> Iterator[str]:
    """Yield what is wrong with the page that the browser shows."""
    page.evaluate(OPEN)
    seen = page.evaluate(SEEN)
    if seen["stops"]:
        yield f"{seen['stops']} formulas are stops for the tab key"
    if seen["errors"]:
        yield f"{seen['errors']} formulas that MathJax cannot read"
    if seen["wide"] > 0:
        yield f"wider than the screen by {seen['wide']} px"
    rules = {**OPTIONS["rules"], "color-contrast": {"enabled": every or not large}}
    left_out = {"exclude": [FORMULAS] if every else [FORMULAS, CODE]}
    found: dict[str, Any] = Axe().run(page, context=left_out, options={**OPTIONS, "rules": rules}).response
    for violation in found["violations"]:
        for node in violation["nodes"]:
            where = " ".join(node["html"].split())[:120]
            yield f"{violation['id']} ({violation['impact']}): {where}"


def check_print(page: Page) -> Iterator[str]:
    """Yield a fault if the summary does not print on one sheet."""
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
    if sheets != 1:
        yield f"prints on {sheets} sheets, must be 1"


def check_pages(chromium: Browser, html: Path, every: bool) -> Iterator[tuple[str, str]]:
    """Yield file and fault of every page, on every screen or on one of them in turn."""
    files = [file for pattern in PAGES for file in sorted(html.glob(pattern))]
    visits = list(product(files, SCREENS)) if every else list(zip(files, cycle(SCREENS), strict=False))
    for file, (theme, width) in tqdm(visits, unit="page", disable=None):
        size: ViewportSize = {"width": width, "height": HEIGHT}
        context = chromium.new_context(color_scheme="dark" if theme == "dark" else "light", viewport=size)
        context.set_default_timeout(300_000)  # of a machine that has other things to do
        page = context.new_page()
        browser.open_page(page, file)
        name = file.relative_to(html).as_posix()
        yield from ((name, f"{fault} [{theme}, {width} px]") for fault in check_page(page, every, file.stem == LARGE))
        if file.stem == SUMMARY:
            yield from ((name, fault) for fault in check_print(page))
        context.close()


def check_site(html: Path, every: bool) -> list[tuple[str, str]]:
    """Return file and fault of what a browser finds.

    Raises:
        FileNotFoundError: there is no browser.
    """
    with browser.browser() as chromium:
        return list(check_pages(chromium, html, every))


@console.command
def main() -> int:
    """Parse the command line, look at every page on every screen and report."""
    parser = command_line(__doc__)
    parser.add_argument("--in-turn", action="store_true", help="one theme and width a page, instead of all six")
    arguments = parser.parse_args()
    try:
        faults = check_site(arguments.project.html, every=not arguments.in_turn)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    for file, fault in faults:
        print(f"{file}: {fault}", file=sys.stderr)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
