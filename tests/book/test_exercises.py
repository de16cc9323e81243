"""The code in exercises and in their solutions uses only what the chapter has, or what they import themselves."""

import ast
import builtins
import re
from itertools import chain
from pathlib import Path

import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "book").glob("[01]*.py"))


def bound_names(tree: ast.AST) -> set[str]:
    """Return all names that some code gives a value, and the arguments of its functions."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names) | ast.ImportFrom(names=names):
                found |= {(name.asname or name.name).partition(".")[0] for name in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.add(name)
    return found


def snippets(text: str) -> list[ast.Module]:
    """Return the Python in fences and backticks that calls something; words and formulas in backticks are passed by."""
    fenced = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL))
    trees = []
    for source in (*fenced, *(line.replace("\n", " ") for line in inline)):
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        if any(isinstance(node, ast.Call | ast.Import | ast.ImportFrom) for node in ast.walk(tree)):
            trees.append(tree)
    return trees


def unknown_names(chapter: str) -> dict[str, set[str]]:
    """Return, for each exercise, the names that its code or its solution's uses and nobody has given a value."""
    prose = re.sub(r"^# ?", "", chapter, flags=re.MULTILINE)
    texts: dict[str, str] = {}
    for _, kind, rest in re.findall(r"^(`{3,4})\{(exercise|solution)\}(.*?)^\1$", prose, re.DOTALL | re.MULTILINE):
        label = re.search(r":label: (\S+)", rest)[1] if kind == "exercise" else rest.split()[0]
        texts[label] = texts.get(label, "") + rest
    known = bound_names(ast.parse(chapter)) | set(dir(builtins))
    unknown = {}
    for label, text in texts.items():
        trees = snippets(text)
        own = set(chain.from_iterable(map(bound_names, trees)))
        used = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)}
        unknown[label] = used - own - known
    return unknown


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_code_of_exercises_uses_what_the_chapter_has(path):
    unknown = unknown_names(path.read_text(encoding="utf-8"))
    assert unknown, "each chapter has exercises"
    assert not {label: names for label, names in unknown.items() if names}


def test_a_name_that_nobody_imports_is_found():
    exercise = "# ```{exercise} Own\n# :label: ex\n# Make `Neuron(v0=torch.ones(1))`.\n# ```\n"
    chapter = f"# %%\nimport torch\n# %% [markdown]\n{exercise}"
    assert unknown_names(chapter) == {"ex": {"Neuron"}}
    solved = chapter + "#\n# ```{solution} ex\n# `from here import Neuron`\n# ```\n"
    assert unknown_names(solved) == {"ex": set()}
