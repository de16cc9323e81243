"""The page of the library: every equation with its function, every module, and nothing that is not there."""

import ast
import re
from pathlib import Path

import pydantic
import pytest

import atif_lib

ROOT = Path(__file__).resolve().parents[2]

from ci import api_reference  # noqa: E402

PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| Eq\. \{eq\}`eq-(\d+)` \| (.+?) \| \{py:obj\}`\w+ <([\w.]+)>` \|$", re.MULTILINE)
LINE = re.compile(r"^(\d+) +(.+?)  +(atif_lib\.[\w.]+)$", re.MULTILINE)


def test_page_and_docstring_say_the_same_of_all_twenty_equations():
    rows = ROW.findall(PAGE)
    assert rows == LINE.findall(atif_lib.__doc__)
    assert [number for number, _, _ in rows] == [str(n) for n in range(1, 21)]


@pytest.mark.parametrize("name", sorted({*re.findall(r"<(atif_lib\.[\w.]+)>", PAGE)}))
def test_every_function_that_it_names_is_there(name):
    assert callable(api_reference.find(name))
    assert api_reference.find(api_reference.defined_as(name)) is api_reference.find(name)


def test_every_module_with_a_docstring_is_on_the_page():
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "atif_lib").rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"atif_lib", "atif_lib.__main__"}
    shown = re.findall(r"^\.\. automodule:: (.+)$", PAGE, re.MULTILINE)
    assert sorted(shown) == sorted(modules)


def test_names_that_are_not_there_stay_broken():
    with pytest.raises(LookupError, match=r"atif_lib\.nowhere"):
        api_reference.find("atif_lib.nowhere")
    assert api_reference.defined_as("atif_lib.nowhere") == "atif_lib.nowhere"


def test_the_stars_of_shapes_are_escaped_and_code_and_formulas_are_not():
    lines = ["Shape [T, N, *], ``[N, *]``.", ".. math:: a [N, *]", "    b [*]", "", "Then (*, C) and [N, C, *]"]
    api_reference.escape(None, "function", "f", None, None, lines)
    assert lines == [
        r"Shape [T, N, \*], ``[N, *]``.",
        ".. math:: a [N, *]",
        "    b [*]",
        "",
        r"Then (\*, C) and [N, C, \*]",
    ]


def test_references_in_docstrings_name_what_they_mean_in_full_or_in_their_own_module():
    """Sphinx resolves the rest; this finds a stale module path without building the book."""
    for path in sorted((ROOT / "atif_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in re.findall(r":\w+:`~?(atif_lib\.[\w.]+)`", ast.get_docstring(node) or ""):
                    api_reference.find(name)


def test_a_model_shows_the_names_of_its_fields_alone():
    class Model(pydantic.BaseModel):
        text: str
        source: float | None = pydantic.Field(default=None, alias="ours")

    assert api_reference.name_fields(None, "class", "Model", Model, None, "(...)", None) == ("(*, text, ours)", None)
    assert api_reference.name_fields(None, "class", "Path", Path, None, "(...)", None) is None
    assert api_reference.skip(None, "class", "model_config", {}, False, None)
    assert api_reference.skip(None, "class", "measure", len, False, None) is None
