"""A Chromium without a window, for what only a browser can do: `python -m ci.browser` says whether there is one."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from atif_lib import console

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NAMES += ("microsoft-edge", "microsoft-edge-stable", "msedge")
PLACES = (  # where they are installed without a command
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
MISSING = (
    "No Chromium, Chrome or Edge was found. Install one (on Debian and Ubuntu: apt install chromium), or name its "
    f"program in the environment variable CHROMIUM (now {os.environ.get('CHROMIUM')!r})."
)


def find() -> str | None:
    """Return the program of a Chromium; None where there is none."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    found = (shutil.which(name) for name in (*NAMES, *PLACES))
    return next(filter(None, found), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser that may read the files of this machine, and end it afterwards.

    Raises:
        FileNotFoundError: there is none; the message says what to do.
    """
    program = find()
    if program is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program)
        try:
            yield running
        finally:
            running.close()


def open_page(page: Page, file: Path) -> None:
    """Open a file of the site and wait until its formulas are set."""
    page.goto(file.absolute().as_uri())
    page.evaluate("window.MathJax?.startup?.promise")


@console.command
def main() -> int:
    """Say what is missing, if anything is."""
    if find() is None:
        print(MISSING, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
