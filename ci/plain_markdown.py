"""Turn MyST Markdown into the plain Markdown that Colab shows: roles become text, directives titled quotes."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|:{3,}|~{3,})(?:\{(?P<name>[\w:-]+)\})?\s*(?P<title>.*)$")
OPTIONS = re.compile(r"\A(?:\s*\n)*(?:---\n[\s\S]*?\n---(?:\n|\Z)|(?::[\w-]+:.*(?:\n|\Z))+)")
CODE_OR_ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<text>[^`]+)`|(?<!\})(?P<ticks>`+).+?(?P=ticks)", re.DOTALL)
WITH_TARGET = re.compile(r"(?P<text>.*?)\s*<(?P<target>[^<>]+)>", re.DOTALL)
LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]]*)\]\((?:#(?P<label>[^)\s]+)|(?!\w+:)[^)\s]+\.(?:md|ipynb|py|html)(?:#[^)]*)?)\)"
)
LABELLED_MATH = re.compile(r"(\$\$.*?\$\$)[ \t]*\([\w:-]+\)", re.DOTALL)
TARGET_OR_COMMENT = re.compile(r"^(\([\w:-]+\)=|%.*|\+\+\+.*)\n?", re.MULTILINE)
FOLDED = re.compile(r"^\s*:class:.*\bdropdown\b", re.MULTILINE)
BANNER = re.compile(r":::\{+(?P<kind>\w+)\}+\\n(?P<text>.*?)\\n:::", re.DOTALL)
SILENT = {"bibliography", "tableofcontents", "exercise-end", "solution-end", "contents"}


@dataclass
class Labels:
    """What the book calls the things that its text refers to, by label."""

    equations: dict[str, str] = field(default_factory=dict)
    """Numbers, as in `7`."""
    names: dict[str, str] = field(default_factory=dict)
    """Headings, exercises and figures."""
    pages: dict[str, str] = field(default_factory=dict)
    """Titles, and of chapters their numbers, by file name less its suffix."""
    citations: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Authors and year."""

    def name(self, label: str) -> str:
        """Return what a label stands for, in words."""
        label = label.strip().removeprefix("#")
        if label in self.equations:
            return f"Eq. ({self.equations[label]})"
        page = label.rsplit("/", 1)[-1].split(".")[0]
        return self.names.get(label) or self.pages.get(page) or label.replace("-", " ")

    def cite(self, keys: str, textual: bool) -> str:
        """Return citations by author and year: `Ann and Bo (2020)` in the text, `(Ann and Bo, 2020)` beside it."""
        found = [self.citations.get(key.strip(), (key.strip(), "")) for key in keys.split(",")]
        if textual:
            return ", ".join(f"{authors} ({year})" if year else authors for authors, year in found)
        return f"({'; '.join(', '.join(filter(None, entry)) for entry in found)})"


def plain(text: str, labels: Labels) -> str:
    """Return MyST `text` as plain Markdown."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks(text.split("\n"), labels))).strip("\n")


def plain_code(source: str) -> str:
    """Return a code cell whose texts hold no banner in MyST, such as `":::{warning}\\nText.\\n:::"`."""
    return BANNER.sub(lambda banner: f"> **{banner['kind'].capitalize()}:** {banner['text']}", source)


def split_after(text: str, name: str) -> list[str]:
    """Split MyST `text` behind each directive `name`; all but the last part end with one."""
    lines = text.split("\n")
    parts, start, at = [], 0, 0
    while at < len(lines):
        if match := FENCE.match(lines[at]):
            at = closing(lines, at, match["fence"])
            if match["name"] == name:
                parts.append("\n".join(lines[start : at + 1]))
                start = at + 1
        at += 1
    return [*parts, "\n".join(lines[start:])]


def blocks(lines: list[str], labels: Labels) -> Iterator[str]:
    """Yield the text between fences, made plain, and each fenced block as what it becomes."""
    prose: list[str] = []
    at = 0
    while at < len(lines):
        match = FENCE.match(lines[at])
        if match is None:
            prose.append(lines[at])
            at += 1
            continue
        yield inline("\n".join(prose), labels)
        prose = []
        end = closing(lines, at, match["fence"])
        yield from directive(match, lines[at : end + 1], labels)
        at = end + 1
    yield inline("\n".join(prose), labels)


def closing(lines: list[str], start: int, fence: str) -> int:
    """Return the index of the line that closes a fence; the last line where none does."""
    for at in range(start + 1, len(lines)):
        line = lines[at].strip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return at
    return len(lines) - 1


def directive(match: re.Match[str], lines: list[str], labels: Labels) -> Iterator[str]:
    """Yield a fenced block: code as it is, mathematics between dollars, anything else as a quote with a title.

    A solution, and whatever else the book folds, is folded.
    """
    name, title = match["name"], inline(match["title"], labels)
    if name is None and match["fence"][0] != ":":
        yield "\n".join(lines)
        return
    indent = match["indent"]
    text = "\n".join(line.removeprefix(indent) for line in lines[1:-1])
    options = OPTIONS.match(text)
    body = OPTIONS.sub("", text).strip("\n")
    if name in SILENT:
        return
    if name == "math":
        quoted = ["$$", body, "$$"]
    elif name in {"code", "code-block"}:
        quoted = [f"```{match['title']}", *body.split("\n"), "```"]
    elif name in {"solution", "dropdown"} or (options and FOLDED.search(options[0])):
        quoted = fold(heading(name or "", title), plain(body, labels))
    else:
        quoted = quote(heading(name or "", title), plain(body, labels))
    yield "\n".join(["", *(f"{indent}{line}".rstrip() for line in quoted), ""])


def heading(name: str, title: str) -> str:
    """Return the title of a directive's quote."""
    kind = name.removesuffix("-start").replace("-", " ").capitalize()
    if name.startswith("exercise"):
        return f"Exercise: {title}" if title else "Exercise"
    if name.startswith("solution"):
        return "Solution"
    return title or kind


def quote(title: str, body: str) -> list[str]:
    """Return the lines of a quote under a bold title."""
    lines = [f"**{title}**"] if title else []
    lines += ["", *body.split("\n")] if body else []
    return [f"> {line}".rstrip() for line in lines]


def fold(title: str, body: str) -> list[str]:
    """Return the lines of a block that opens with a click; blank lines let what is inside be read as Markdown."""
    return ["<details>", f"<summary>{title}</summary>", "", *body.split("\n"), "", "</details>"]


def inline(text: str, labels: Labels) -> str:
    """Make text between fences plain: no targets, comments, roles, nor links to places that a notebook lacks."""
    text = LABELLED_MATH.sub(r"\1", TARGET_OR_COMMENT.sub("", text))
    text = CODE_OR_ROLE.sub(lambda match: role(match, labels), text)
    return LINK.sub(lambda match: match["text"] or labels.name(match["label"] or match[0][3:-1]), text)


def role(match: re.Match[str], labels: Labels) -> str:
    """Return what a role says; a code span comes back as it is."""
    if match["role"] is None:
        return match[0]
    name, text = match["role"], match["text"]
    if name.startswith("cite"):
        return labels.cite(text, textual=name in {"cite:t", "cite:ts", "cite:ct"})
    roles: dict[str, Callable[[str], str]] = {
        "eq": lambda label: f"({labels.equations.get(label, label)})",
        "math": lambda formula: f"${formula}$",
        "code": lambda code: f"`{code}`",
        "ref": labels.name,
        "numref": labels.name,
        "doc": labels.name,
    }
    if named := WITH_TARGET.fullmatch(text):
        return named["text"]
    return roles.get(name, lambda words: words)(text)
