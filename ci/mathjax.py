"""MathJax for the site: the parts in use, copied from the installed package."""

from importlib import metadata
from pathlib import Path

MATHJAX = "tex-svg-full.js"  # the short one would fetch \\boldsymbol, \\color and others from files that are not there


def mathjax_file() -> Path:
    """Find MathJax, all of it in one file, in the installed package (whose folder's name no import can spell)."""
    for file in metadata.files("sphinx-mathjax-offline") or []:
        if file.name == MATHJAX:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"sphinx-mathjax-offline holds no {MATHJAX}")
