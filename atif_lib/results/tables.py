"""Tables of run records: those of the paper beside ours, and the book's own."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev

import pandas as pd

from atif_lib import checks
from atif_lib.results import records
from atif_lib.results.manifest import Entry, Manifest, Measured, Quantity, load
from atif_lib.results.measured import number
from atif_lib.results.page import interval, our_value
from atif_lib.results.records import Record, RecordError

__all__ = [
    "ABLATION",
    "compare",
    "difference",
    "gap_table",
    "paper_table",
    "printed",
    "provenance",
    "ran",
    "show_ran",
    "summary",
    "time_table",
    "training_table",
]

# The rows of the book's own ablations: what they are called, and the activation in the experiment's name.
ABLATION = {
    "ReLU": "relu",
    "IF, V_th = 1": "if",
    "ATIF-u": "atif-u",
    "ATIF-nu": "atif-nu",
    "ATIF-u, half-step start": "atif-u-half",
}
# The networks that a training in stages makes of a ReLU network: their rows, and their activations.
_STAGED = {
    "quantized, V_th = 1": "quantized-fixed",
    "IF, V_th = 1": "if",
    "quantized": "quantized",
    "ATIF-u": "atif-u",
    "ATIF-nu": "atif-nu",
}


def paper_table(number: int, manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> pd.DataFrame:
    """Tabulate Table 1, 2 or 3 of the paper: a row an experiment, for each metric its value there and ours.

    All rows are of full size. Behind our value stands its verdict; how many seeds it has, `training_table` says.

    Raises:
        ValueError: the paper has no such table.
    """
    manifest, runs = manifest or load(), records.load_all() if runs is None else runs
    rows: dict[str, dict[str, str]] = {}
    for entry in _cells(number, manifest):
        part = entry.checks[0]
        assert part.quantity is not None  # every cell of the paper's tables has one
        row = rows.setdefault(entry.row or "", {"experiment": part.quantity.experiment})
        metric = (entry.column or "") + f", {part.unit}" * (part.unit == "%")
        verdict = entry.expected(runs)
        ours = verdict if verdict == "not run" else f"{our_value(part, runs, short=True)}: {verdict}"
        row |= {metric: f"{part.paper:g}", f"{metric}, ours": ours}
    return _of_rows(rows)


def _of_rows(rows: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Make a table of rows such as "CIFAR-10, VGG-16, ANN": an index of three levels shows once what repeats."""
    table = pd.DataFrame(rows).T.fillna("")
    table.index = pd.MultiIndex.from_tuples([tuple(row.split(", ", 2)) for row in rows])
    return table


def _cells(number: int, manifest: Manifest) -> list[Entry]:
    cells = [e for e in manifest.of_kind("table") if e.where == f"Table {number}"]
    if not cells:
        raise ValueError(f"number={number!r}: the paper has Tables 1, 2 and 3")
    return cells


def printed(metric: str = "test_accuracy", manifest: Manifest | None = None) -> dict[str, float]:
    """Return what the paper's tables print of a metric, by the experiment of ours that stands for the cell."""
    cells = [entry.checks[0] for entry in (manifest or load()).of_kind("table")]
    return {
        cell.quantity.experiment: cell.paper
        for cell in cells
        if cell.quantity and cell.quantity.metric == metric and isinstance(cell.paper, float)
    }


def gap_table(networks: Mapping[str, tuple[str, str]], runs: Sequence[Record] | None = None) -> pd.DataFrame:
    """Tabulate how far networks that were trained in stages end below the ReLU network that they began as.

    Args:
        networks: a label to the stem of our experiments and to that of those which stand for the paper's rows, such as
            ``("gsc13-resnet18", "gsc-resnet18")``. The paper's gap stands beside ours where its tables print one.
        runs: the records to look in, by default all.

    Returns:
        A row a network and activation: accuracy before the first update and at the end, θ, the gaps, and seeds.
    """
    runs = records.load_all() if runs is None else runs
    metrics = {"before the first update, %": "epochs.0.test_accuracy", "at the end, %": "test_accuracy", "θ": "theta"}
    paper, tables = printed(), {}
    for label, (own, theirs) in networks.items():
        names = {row: f"{own}-{activation}-staged" for row, activation in _STAGED.items()}
        table = summary(names, metrics, "full", runs)
        several = {"profile": "full", "family": [*names.values()], "runs": runs}
        gaps = [difference(name, f"{own}-relu-staged", **several) for name in names.values()]
        table.insert(3, "this minus ReLU, points", [gap["difference"] for gap in gaps])
        relu, *rows = (paper.get(f"{theirs}-{a}-staged") for a in ("relu", *_STAGED.values()))
        table.insert(
            4,
            "in the paper",
            ["" if relu is None or row is None else f"{row - relu:+.2f}".replace("-", "−") for row in rows],
        )
        tables[label] = table
    return pd.concat(tables, names=["network", "trained"])


def time_table(accuracies: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Tabulate accuracies in percent after 1, 2, ... timesteps: a row a network, empty where it has no more."""
    rows = {
        label: {f"T = {t}": f"{value:.1f}" for t, value in enumerate(values, 1)} for label, values in accuracies.items()
    }
    return pd.DataFrame(rows).T.fillna("")


def training_table(number: int, manifest: Manifest | None = None, runs: Sequence[Record] | None = None) -> pd.DataFrame:
    """Tabulate how our networks of a table of the paper were trained: a row an experiment.

    Returns:
        Protocol, epochs of each stage, seeds, hours a seed (all stages), device; "not run" where there is no record.
        A device that imitates bfloat16, and so took float32, has that behind its name. Where the records of the stages
        before are not there, or are of another training, "not known" stands for these, and the hours are "at least".

    Raises:
        ValueError: the paper has no such table.
    """
    manifest, runs = manifest or load(), records.load_all() if runs is None else runs
    found = {(r.experiment, r.profile, r.seed): r for r in runs}
    rows: dict[str, dict[str, str]] = {}
    for entry in _cells(number, manifest):
        quantity = entry.checks[0].quantity
        assert quantity is not None  # every cell of the paper's tables has one
        own = [r for r in runs if (r.experiment, r.profile) == (quantity.experiment, quantity.profile)]
        protocol = {"staged": "in stages", "paper": "the paper's"}.get(quantity.experiment.rsplit("-", 1)[-1], "direct")
        row = {"protocol": protocol, "epochs": "not run", "seeds": "", "hours a seed": "", "device": ""}
        if own:
            chains = [_stages(r, found) for r in own]
            least = "" if all(map(_whole, chains)) else "at least "
            row["epochs"] = "; ".join(dict.fromkeys(map(_epochs, chains)))
            row["hours a seed"] = f"{least}{mean(sum(r.wall_s for r in chain) for chain in chains) / 3600:.2g}"
            row["device"] = "; ".join(sorted({_where(r) for chain in chains for r in chain}))
            row["seeds"] = str(len(own))
        rows[entry.row or ""] = row
    return _of_rows(rows)


def _where(record: Record) -> str:
    """Name a run's device, and its precision where the device had to take another than the recipe's."""
    precision = record.result.get("precision", record.config["recipe"]["precision"])
    return record.device + (" (float32)" if precision != record.config["recipe"]["precision"] else "")


def _stages(record: Record, found: Mapping[tuple[str, str, int], Record]) -> list[Record]:
    """List a run and, before it, those whose weights it started from, as far as their records are there."""
    stages = [record]
    while start := found.get((stages[0].config.get("start") or "", record.profile, record.seed)):
        if stages[0].result.get("start_sha256") != start.result.get("weights_sha256"):
            break  # the start was trained anew since
        stages.insert(0, start)
    return stages


def _whole(stages: Sequence[Record]) -> bool:
    """Tell whether the first of the stages started from no other run."""
    return not stages[0].config.get("start")


def _epochs(stages: Sequence[Record]) -> str:
    before = [] if _whole(stages) else ["not known"]
    return " + ".join([*before, *(f"{r.config['recipe']['epochs']}" for r in stages)])


def summary(
    experiments: Mapping[str, str],
    metrics: Mapping[str, str],
    profile: str = "laptop",
    runs: Sequence[Record] | None = None,
) -> pd.DataFrame:
    """Tabulate run records: one row an experiment, mean ± standard deviation over its seeds.

    Args:
        experiments: row label to experiment name.
        metrics: column label to dotted path into a record's result.
        profile: of the records.
        runs: the records to look in, by default all.

    Returns:
        A table of texts, with the number of seeds; "not run" where there is no record, "–" where no record has such a
        metric, as a network of ReLUs has no θ, and "(n = 2)" behind a mean over fewer seeds than the row has.
        `provenance` says what ran.

    Raises:
        RecordError: a metric that no record has, of whatever experiment, or that is no number.
    """
    every = records.load_all() if runs is None else runs
    rows = {
        label: [r for r in every if (r.experiment, r.profile) == (name, profile)] for label, name in experiments.items()
    }
    for path in metrics.values():
        if every and not any(_has(record, path) for record in every):
            raise RecordError(f"no record has a metric {path!r}")
    table = {
        label: {column: _mean_sd(found, path) for column, path in metrics.items()} | {"seeds": len(found)}
        for label, found in rows.items()
    }
    return pd.DataFrame(table).T


def compare(
    experiment: str,
    twin: str | Quantity,
    metric: str = "test_accuracy",
    profile: str = "laptop",
    family: Sequence[str] = (),
    runs: Sequence[Record] | None = None,
) -> Measured | None:
    """Subtract a metric of two experiments that draw at random, seed by seed; None where one was not run.

    Args:
        experiment: the one that is subtracted from.
        twin: the one that is subtracted, or a quantity, which may be a difference itself.
        metric: dotted path into a record's result.
        profile: of the records.
        family: every experiment that is compared with this twin, where they are several: Dunnett's interval.
        runs: the records to look in, by default all.

    Raises:
        ValueError: a family without the experiment.
    """
    if family:
        checks.choice("experiment", experiment, family)
    minus = Quantity(twin, metric, profile) if isinstance(twin, str) else twin
    quantity = Quantity(experiment, metric, profile, minus, family=tuple(family))
    return quantity.measure(records.load_all() if runs is None else runs)


def difference(
    experiment: str,
    twin: str | Quantity,
    metric: str = "test_accuracy",
    profile: str = "laptop",
    family: Sequence[str] = (),
    runs: Sequence[Record] | None = None,
) -> dict[str, str]:
    """Write a comparison for a table of a chapter; the arguments are those of `compare`.

    Returns:
        ``difference`` with its 95 % interval, or "not run"; ``seeds``; ``verdict``: higher or lower where the interval
        clears zero, else open, and of one seed always.
    """
    found = compare(experiment, twin, metric, profile, family, runs)
    if found is None:
        return {"difference": "not run", "seeds": "", "verdict": ""}
    low, high = found.interval or (0.0, 0.0)
    size = (high - low) / 2 or abs(found.mean)  # two digits of half the interval say how well the difference is known
    digits = max(2, 1 - math.floor(math.log10(size))) if size else 2
    return {
        "difference": f"{found.mean:+.{digits}f}{interval(found, digits)}".replace("-", "−"),
        "seeds": str(found.n),
        "verdict": "higher" if low > 0 else "lower" if high < 0 else "open",
    }


def ran(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Leave out of a table what has not run, so that a reader on a phone sees the results.

    Args:
        table: of texts. A row whose ``seeds`` is 0 or empty has not run; in a table without that column a column has
            not run if it says so from top to bottom.

    Returns:
        The rest, and a sentence in Markdown on what was left out, empty where that is nothing.
    """
    if "seeds" in table:
        missing = [seeds in (0, "0", "") for seeds in table["seeds"]]
        rest = table.loc[[not m for m in missing], :]
        labels = [label for label, m in zip(table.index, missing, strict=True) if m]
    else:
        said = [set(table[column]) for column in table.columns]
        missing = ["not run" in texts and texts <= {"not run", ""} for texts in said]
        rest = table.loc[:, [not m for m in missing]]
        labels = [label for label, m in zip(table.columns, missing, strict=True) if m]
    names = [", ".join(label) if isinstance(label, tuple) else str(label) for label in labels]
    return rest, f"*Not run yet: {'; '.join(names)}.*" if names else ""


def show_ran(table: pd.DataFrame) -> None:
    """Display in a notebook what has run of a table, and one line on what has not; see `ran`.

    A browser can break a text before and behind an interval, and after a word with a comma or a semicolon.
    """
    from IPython.display import Markdown, display

    rest, missing = ran(table)
    if len(rest):
        display(rest.map(lambda cell: _unbroken(cell) if isinstance(cell, str) else cell))
    if missing:
        display(Markdown(missing))


def _unbroken(text: str) -> str:
    return re.sub(r"(?<![a-zA-Z)][,;])(?<!]:) (?!\[)", "\N{NO-BREAK SPACE}", text)


def provenance(experiments: Iterable[str], runs: Sequence[Record] | None = None) -> str:
    """Say in one line of Markdown which code and which devices the records come from, those of smoke runs left out."""
    every, names = records.load_all() if runs is None else runs, list(experiments)
    found = [r for name in names for r in every if r.experiment == name and r.profile != "smoke"]
    if not found:
        return "*Not run yet.*"
    commits = sorted({r.commit[:7] + (" and changes" if r.dirty else "") for r in found if r.commit})
    devices = sorted({r.device.replace(" 1 threads", " 1 thread") for r in found})  # as records of before had it
    hours = sum(r.wall_s for r in found) / 3600
    count = f"{len(found)} run{'s' * (len(found) > 1)}"
    return f"*{count}, {hours:.2g} hours in all; code {', '.join(commits) or 'unknown'}; {'; '.join(devices)}.*"


def _has(record: Record, path: str) -> bool:
    """Tell whether a record has a metric; None stands for one that its network does not have."""
    try:
        return record.metric(path) is not None
    except RecordError:
        return False


def _mean_sd(found: Sequence[Record], path: str) -> str:
    if not found:
        return "not run"
    values = [number(record, path) for record in found if _has(record, path)]
    if not values:
        return "–"
    spread = "" if len(values) == 1 else f" ± {stdev(values):.2g}"
    return f"{mean(values):.4g}{spread}" + f" (n = {len(values)})" * (len(values) < len(found))
