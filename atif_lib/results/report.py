"""The reproduction report: the manifest and the run records as a page, as text and as the README's table.

Everything here is a pure function of the two, but for `update_readme` and `update_verdicts`, which rewrite a file.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import unified_diff
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from ruamel.yaml import YAML

from atif_lib.paths import write_whole
from atif_lib.results import page as report_page
from atif_lib.results import records
from atif_lib.results.manifest import MANIFEST, NEED_NOTE, PARTS, Entry, Manifest, load
from atif_lib.results.page import counts, held, our_value, paper_value, tally
from atif_lib.results.records import Record, RecordError, differing

__all__ = [
    "as_measured",
    "check",
    "figure_chapters",
    "having",
    "readme_table",
    "report_markdown",
    "report_text",
    "stale_readme",
    "update_readme",
    "update_verdicts",
]

TABLES = {
    "Table 1": "Accuracy and θ of VGG-16 and ResNet-18 on CIFAR-10 and CIFAR-100",
    "Table 2": "Accuracy and θ of ResNet-18 on 35 spoken words",
    "Table 3": "Accuracy, θ and spikes of ResNet-18 on CIFAR-10 with a fixed and with learned thresholds",
}
"""What the paper's tables hold, for the README."""

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


def as_measured(manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> Manifest:
    """Return the manifest with the verdicts that the records give, which may be those of a folder of one's own.

    The note of a verdict that changes is left out, for it says why the other was given.
    """
    manifest, runs = _defaults(manifest, runs)

    def judged(entry: Entry) -> Entry:
        verdict = entry.expected(runs)
        return entry if verdict == entry.verdict else entry.model_copy(update={"verdict": verdict, "note": ""})

    parts = {name: tuple(map(judged, getattr(manifest, name))) for name in PARTS}
    return manifest.model_copy(update=parts)


def having(manifest: Manifest, words: Sequence[str]) -> Manifest:
    """Return the manifest with only those entries that have all of the words.

    A number is that of a table, figure or section, 1 for Figures 1A and 1B too. Another word stands anywhere in the
    entry's id, place, text or verdict.

    Raises:
        ValueError: no entry has them.
    """

    def has(entry: Entry, word: str) -> bool:
        if word[:1].isdigit():
            return any(word in (token, token.rstrip("ab")) for token in entry.where.casefold().split())
        return word in f"{entry.id} {entry.where} {entry.text} {entry.verdict}".casefold()

    wanted = [word.casefold() for word in words]
    parts = {name: tuple(e for e in getattr(manifest, name) if all(has(e, w) for w in wanted)) for name in PARTS}
    if not any(parts.values()):
        raise ValueError(f"no entry has {' and '.join(map(repr, words))} in its id, place, text or verdict")
    return manifest.model_copy(update=parts)


def check(manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> list[str]:
    """List where verdicts and records disagree, and seeds with each other, one sentence each; an empty list is good."""
    manifest, runs = _defaults(manifest, runs)
    found = []
    for entry in manifest.all():
        try:
            expected = entry.expected(runs)
        except RecordError as error:
            found.append(f"{entry.id}: {error}")
            continue
        if entry.verdict != expected:
            found.append(f"{entry.id}: the verdict is {entry.verdict!r}, the records say {expected!r}")
        if entry.verdict in NEED_NOTE and not entry.note:
            found.append(f"{entry.id}: the verdict {entry.verdict!r} needs a note that says why")
    return found + _mixed(runs)


def _mixed(runs: Sequence[Record]) -> list[str]:
    """Say of which experiments the seeds were run with different settings, so that a mean over them would be of none.

    Smoke runs do not count: they are no results.
    """
    kinds: dict[tuple[str, str], list[list[Record]]] = {}
    for record in runs:
        if record.profile != "smoke":
            found = kinds.setdefault((record.experiment, record.profile), [])
            for kind in found:
                if _ran_with(kind[0]) == _ran_with(record):
                    kind.append(record)
                    break
            else:
                found.append([record])
    return [
        f"{experiment}, profile {profile}: {' and '.join(map(_seeds, found))} differ in "
        f"{', '.join(differing(*(_ran_with(kind[0]) for kind in found)))}; allowed: one configuration for all seeds"
        for (experiment, profile), found in kinds.items()
        if len(found) > 1
    ]


def _ran_with(record: Record) -> dict[str, Any]:
    """Return a record's settings, and what they leave to the machine: its data, and the precision it was quick in."""
    precision = record.result.get("precision", record.settings.get("recipe.precision"))
    return record.settings | {"data_sha256": record.data_sha256, "precision": precision}


def _seeds(kind: Sequence[Record]) -> str:
    return f"seed{'s' * (len(kind) > 1)} {', '.join(str(record.seed) for record in kind)}"


def figure_chapters(manifest: Manifest | None = None) -> dict[str, str]:
    """Return the chapter that makes each figure of the paper, by its number there ("3A")."""
    entries = (manifest or load()).entries
    return {e.where.removeprefix("Figure "): e.chapter for e in entries if e.kind == "figure"}


def report_markdown(
    manifest: Manifest | None = None, runs: Sequence[Record] | None = None, chapters: Iterable[str] | None = None
) -> str:
    """Render the book's page in MyST; `chapters` are those to link to, by default those in `_toc.yml`."""
    return report_page.render(*_defaults(manifest, runs), chapters)


def report_text(
    manifest: Manifest | None = None, runs: Sequence[Record] | None = None, width: int | None = None
) -> str:
    """Render the report for a terminal: a line for each entry, one for each of its checks, and why it is as it is.

    Args:
        manifest: by default the project's.
        runs: the records to look in, by default all.
        width: columns at which lines are broken, by default nowhere.
    """
    manifest, runs = _defaults(manifest, runs)
    lines = []
    for entry in manifest.all():
        lines.append(f"{entry.verdict:<10}  {entry.id}: {entry.text} [{entry.where}]")
        for part in entry.checks:
            text = f"{part.text} " if len(entry.checks) > 1 else ""
            lines.append(f"{'':12}{text}paper {paper_value(part)}, ours {our_value(part, runs)}{held(part, runs)}")
        lines += [f"{'':12}{entry.note}"] if entry.note and entry.verdict in NEED_NOTE else []
    if width is not None:
        indent = " " * 12
        wrapped = (wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) for line in lines)
        lines = [part for parts in wrapped for part in parts]
    return "\n".join([*lines, "", *counts(manifest)])


def readme_table(manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> str:
    """Render the short table for GitHub: figures, tables, and the claims marked `headline`."""
    manifest, runs = _defaults(manifest, runs)
    lines = ["| | What the paper says | Paper | Ours | Verdict |", "|---|---|---|---|---|"]
    for table, group in groupby((e for e in manifest.entries if e.kind != "claim"), key=_place):
        cells = list(group)
        lines.append(_readme_row(cells[0], runs) if cells[0].kind == "figure" else _readme_cells(table, cells))
    lines += [_readme_row(e, runs) for e in manifest.entries if e.kind == "claim" and e.headline]
    return "\n".join([*lines, "", *(f"* {line}." for line in counts(manifest))])


def _place(entry: Entry) -> str:
    return entry.where


def _readme_row(entry: Entry, runs: Sequence[Record]) -> str:
    """Write one row; of several checks how many hold, and for a claim the value of the first."""
    first, n = entry.checks[0], len(entry.checks)
    paper, ours = paper_value(first), our_value(first, runs)
    run = entry.expected(runs) != "not run"
    if n > 1 and run:
        measured = [(part, part.measure(runs)) for part in entry.checks]
        held = f"{sum(part.holds(own) is True for part, own in measured if own)} of {n} checks hold"
        ours = held if entry.kind == "figure" else f"{ours}; {held}"
    if n > 1 and (entry.kind == "figure" or not run):
        some = sum(part.measure(runs) is not None for part in entry.checks)
        paper, ours = f"{n} checks", ours if run else f"{some} of {n} checks have run" if some else "–"
    text = entry.text.replace("|", "\\|")
    return f"| {entry.where} | {text} | {paper} | {ours} | {entry.verdict} |"


def _readme_cells(table: str, cells: Sequence[Entry]) -> str:
    return f"| {table} | {TABLES[table]}, at full size. | {len(cells)} cells | | {tally(cells)} |"


def update_readme(path: Path | str, manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> bool:
    """Write the table between the markers of a README; return whether the file changed."""
    path = Path(path)
    before = path.read_text(encoding="utf-8")
    after = _with_table(before, readme_table(manifest, runs), path)
    if after != before:
        write_whole(path, lambda file: file.write(after.encode()))
    return after != before


def stale_readme(path: Path | str, manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> list[str]:
    """List what is wrong with a README's table: markers that lack, or the lines to remove and to add."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        right = _with_table(text, readme_table(manifest, runs), path)
    except ValueError as error:
        return [str(error)]
    lines = list(unified_diff(text.split("\n"), right.split("\n"), n=0, lineterm=""))[2:]  # behind the files' names
    todo = {"-": "remove", "+": "add"}
    wrong = f"{path}: the claims table is not what the records give:"
    return [f"{wrong} {todo[line[0]]} the line {line[1:]}" for line in lines if line[0] in todo]


def _with_table(text: str, table: str, path: Path | str) -> str:
    found = re.findall(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"{path}: expected one {BEGIN} followed by {END}, found {len(found)}")
    return text.replace(found[0], f"{BEGIN}\n{table}\n{END}")


def update_verdicts(path: Path | str = MANIFEST, runs: Sequence[Record] | None = None) -> list[str]:
    """Write the verdicts that the records say into the manifest; return the ids changed."""
    path, runs = Path(path), records.load_all() if runs is None else runs
    changed = {e.id: expected for e in load(path).all() if (expected := e.expected(runs)) != e.verdict}
    text = path.read_bytes().decode("utf-8")
    for start, end, entry in reversed(list(_verdict_places(text))):
        if entry in changed:
            text = text[:start] + changed[entry] + text[end:]
    write_whole(path, lambda file: file.write(text.encode("utf-8")))
    return list(changed)


def _verdict_places(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where the verdict of each entry begins and ends in a manifest's text, and the entry's id.

    The verdicts are replaced in the text itself, because a dump of all that was read would set lines anew.
    """
    for part, entries in YAML().compose(text).value:
        if part.value in PARTS:
            for entry in entries.value:
                values = {key.value: value for key, value in entry.value}
                verdict = values["verdict"]
                yield verdict.start_mark.index, verdict.end_mark.index, values["id"].value


def _defaults(manifest: Manifest | None, runs: Sequence[Record] | None) -> tuple[Manifest, Sequence[Record]]:
    return manifest or load(), records.load_all() if runs is None else runs
