"""What the pipeline's scripts share: where things are, and where the book is published."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

PLACEHOLDER_OWNER = "your_name"


@dataclass(frozen=True)
class Project:
    """A checkout of the book and the folders that the pipeline writes in it."""

    root: Path

    @property
    def build(self) -> Path:
        """Everything that is made; nothing outside it is written."""
        return self.root / "_build"

    @property
    def stage(self) -> Path:
        """The folder that Jupyter Book builds from."""
        return self.build / "src"

    @property
    def html(self) -> Path:
        """The site."""
        return self.build / "html"

    @property
    def figures(self) -> Path:
        """The figures and their data, as the chapters save them."""
        return self.build / "figures"

    @property
    def status(self) -> Path:
        """When, how long and with which versions each chapter ran."""
        return self.build / "status.json"

    def chapters(self) -> list[Path]:
        """List the chapters' sources in the book's order."""
        return sorted((self.root / "book").glob("[0-9][0-9]_*.py"))

    def assignments(self) -> list[Path]:
        """List the sources of the assignments in the order of the lectures."""
        return sorted((self.root / "book" / "assignments").glob("lecture_[0-9].py"))

    def notebook(self, chapter: Path) -> Path:
        """Where the executed notebook of `chapter` goes."""
        return self.stage / "book" / f"{chapter.stem}.ipynb"


def positive(text: str) -> int:
    """Return the number of an option that counts; argparse says what is wrong with another text."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: an integer, 1 or more")
    return int(text)


def command_line(docstring: str | None) -> argparse.ArgumentParser:
    """Make a parser for a script with this docstring: `--root` gives the `project`, by default the folder one is in."""
    parser = argparse.ArgumentParser(description=(docstring or "").partition("\n")[0])
    parser.add_argument(
        "--root", dest="project", type=lambda folder: Project(Path(folder).absolute()), default="", metavar="ROOT"
    )
    return parser


@dataclass(frozen=True)
class Repository:
    """The public address of the book's source."""

    url: str
    branch: str

    @property
    def published(self) -> bool:
        """Whether the address is a real one."""
        return f"/{PLACEHOLDER_OWNER}/" not in self.url

    @property
    def slug(self) -> str:
        """Owner and name, as in `owner/name`."""
        return "/".join(self.url.removesuffix(".git").split("/")[-2:])


def repository(root: Path, environ: Mapping[str, str] = os.environ) -> Repository:
    """Read the repository's address from `_config.yml`; GITHUB_REPOSITORY (owner/name) overrides it."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    url = config["url"].rstrip("/")
    if slug := environ.get("GITHUB_REPOSITORY"):
        url = f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{slug}"
    return Repository(url=url, branch=config["branch"])
