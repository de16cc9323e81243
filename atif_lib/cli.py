"""Command line: `atif COMMAND ...`, or `python -m atif_lib COMMAND ...`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryDirectory

from atif_lib import checks, console, paths
from atif_lib.results.environment import first_process
from atif_lib.results.records import PROFILES, run_id

_WIDE = 200  # columns from which a table has the names of our experiments too


@console.command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can mend are one line on standard error and exit status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):  # a bare `atif`: what there is
        parser.exit(2, parser.format_help())
    try:
        paths.make_absolute()
        status = options.command(options) or 0
        print(end="", flush=True)
        return status
    except (ValueError, RuntimeError, OSError, FloatingPointError) as error:
        if isinstance(error, OSError) and console.is_closed(error):
            raise
        print(f"atif_lib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"atif_lib: interrupted{getattr(options, 'way_on', '')}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    prog = "atif" if Path(sys.argv[0]).stem == "atif" else "python -m atif_lib"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(metavar="command")

    listing = commands.add_parser("list", help="list the experiments")
    listing.add_argument("words", nargs="*", help="only those whose names have all of these")
    listing.set_defaults(command=_list)

    train = commands.add_parser("train", help="run an experiment and save its record")
    train.add_argument("name", help="see `list`")
    train.add_argument("--profile", choices=PROFILES, help="by default that of the experiment's results")
    train.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="by default 0")
    train.add_argument(
        "--resume", action="store_true", help="go on where a run was interrupted; leave alone what has ended"
    )
    train.add_argument("--validation", action="store_true", help="test on held-out training examples, to choose by")
    train.add_argument("--deterministic", action="store_true", help="the same bits in every run on a GPU too, slower")
    train.add_argument("--dry-run", action="store_true", help="only a few steps, to tell what the run would cost")
    train.set_defaults(command=_train)

    reproduce = commands.add_parser("reproduce", help="run all that a table of the paper needs, and print the table")
    reproduce.add_argument("what", choices=("table", "all"), help="`table` and its numbers, or all three tables")
    reproduce.add_argument("tables", type=int, nargs="*", metavar="NUMBER", help="1, 2, 3; with `table` only")
    reproduce.add_argument(
        "--dry-run", action="store_true", help="only say what is there, and measure what the rest would take"
    )
    reproduce.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="by default 0")
    reproduce.add_argument("--protocol", default="staged", help="staged (the default), fast or paper: see chapter 7")
    reproduce.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side; they share the cores")
    reproduce.add_argument("--profile", choices=PROFILES, help="smoke tries the whole at a small size")
    reproduce.add_argument("--snakefile", type=Path, metavar="FILE", help="write a Snakemake workflow instead")
    reproduce.set_defaults(command=_reproduce)

    bench = commands.add_parser("bench", help="measure time and memory of training, against SpikingJelly and ReLU")
    bench.add_argument("--profile", choices=PROFILES, help="by default full with a GPU and laptop without one")
    bench.set_defaults(command=_bench)

    evaluate = commands.add_parser("evaluate", help="test a trained network again, after each timestep too")
    evaluate.add_argument("run", help="a run's name, for example cifar10-small-atif-u-laptop-s0")
    evaluate.set_defaults(command=_evaluate)

    export = commands.add_parser("export", help="write a trained network's weights in half precision, and test them")
    export.add_argument("run", help="a run's name, for example cifar10-vgg16-atif-u-staged-full-s0")
    export.add_argument("--out", type=Path, help="folder to write to, by default where `evaluate` looks")
    export.set_defaults(command=_export)

    table = commands.add_parser("table", help="a table of the paper beside our records")
    table.add_argument("number", type=int, choices=(1, 2, 3))
    table.set_defaults(command=_table)

    figure = commands.add_parser("figure", help="make a figure of the paper again: SVG, PNG and CSV")
    figure.add_argument("number", help="its number in the paper, for example 3 or 3A")
    figure.add_argument("--profile", default="laptop", choices=PROFILES, help="by default laptop")
    figure.add_argument(
        "--out",
        type=Path,
        default=paths.figures_folder(),
        help="folder to write to, by default ATIF_FIGURES or _build/figures",
    )
    figure.set_defaults(command=_figure)

    report = commands.add_parser("report", help="what reproduces, claim by claim")
    report.add_argument("words", nargs="*", help="only what has all of these, for example `table 3`, `open`, `vgg`")
    report.add_argument("--format", choices=("text", "md", "readme"), help="text by default")
    report.add_argument("--check", action="store_true", help="fail where manifest, README and records disagree")
    report.add_argument("--update", type=Path, metavar="README", help="rewrite the claims table of this file")
    report.add_argument("--verdicts", action="store_true", help="write the verdicts of the records into the manifest")
    report.set_defaults(command=_report)

    data = commands.add_parser("data", help="fetch and verify a data set")
    data.add_argument("name", help="for example cifar10")
    data.set_defaults(command=_data)
    return parser


def _list(options: argparse.Namespace) -> None:
    from atif_lib.experiments.registry import EXPERIMENTS

    names = [name for name in EXPERIMENTS if all(word.casefold() in name for word in options.words)]
    if not names:
        raise ValueError(f"no experiment's name has {' and '.join(map(repr, options.words))}; see `list` without words")
    for name in names:
        print(f"{name:{max(map(len, names))}}  {EXPERIMENTS[name].profiles[-1]:6}  {EXPERIMENTS[name].summary}")


def _train(options: argparse.Namespace) -> None:
    from atif_lib.experiments import runs
    from atif_lib.experiments.networks import NetworkExperiment
    from atif_lib.experiments.one_neuron import ExactExperiment
    from atif_lib.experiments.registry import find
    from atif_lib.experiments.speed import SpeedExperiment

    experiment = find(options.name)
    network = isinstance(experiment, NetworkExperiment)
    if not network and (options.resume or options.validation):  # it would replace the record all the same
        given = " and ".join(f"--{option}" for option in ("resume", "validation") if getattr(options, option))
        raise ValueError(f"{given}: {options.name} trains no network; allowed: with an experiment that trains one")
    if idle := _idle_options(options, network):
        _tell(f"{', '.join(idle)}: of no use to {'a dry run' if network else 'a run that trains no network'}")
    if options.deterministic:
        _be_deterministic()
    if options.dry_run:
        told = runs.estimate(options.name, options.profile)  # of several processes all take the steps
        if first_process():
            print("\n".join(f"{label:20} {value}" for label, value in told.items()))
        return
    seeds = [runs.checked_seed(seed) for seed in dict.fromkeys(options.seeds)]
    if isinstance(experiment, ExactExperiment | SpeedExperiment) and seeds != [0]:
        raise ValueError(f"seeds={seeds}; allowed: 0 alone, for {options.name} uses no seed")
    folder = paths.results_folder() / ("validation" if options.validation and network else "")
    for number, seed in enumerate(seeds):
        profile = options.profile or experiment.profiles[-1]
        checkpoint = runs.run_folder(options.name, profile, seed, options.validation) / "checkpoint.pt"
        if options.resume and network:
            if runs.is_done(options.name, profile, seed, options.validation):
                _tell(f"seed {seed} has ended: nothing to do (without --resume it would be trained anew)")
                continue
            if not checkpoint.is_file():
                _tell(f"no checkpoint in {checkpoint.parent}: seed {seed} starts from the beginning")
        _tell_of_record(folder, options.name, profile, seed)
        try:
            record = runs.run(options.name, options.profile, seed, options.resume, options.validation)
        except KeyboardInterrupt:
            rest = " ".join(map(str, seeds[number:]))
            if checkpoint.is_file():
                options.way_on = f"; {f'--seeds {rest} ' if len(seeds) > 1 else ''}--resume goes on from here"
            raise
        told = {k: v for k, v in record.result.items() if type(v) in (int, float) and k != "seconds"}  # of the epochs
        metrics = ", ".join(f"{k} {v:.4g}" for k, v in told.items())
        if first_process():
            print(f"{record.run_id}: {metrics} ({record.wall_s:.0f} s), in {folder}", flush=True)


def _tell_of_record(folder: Path, name: str, profile: str, seed: int) -> None:
    """Say that a run will take the place of a record; smoke runs are no results."""
    path = folder / f"{run_id(name, profile, seed)}.json"
    if profile != "smoke" and path.is_file():
        _tell(f"this replaces the record {path}; ATIF_RESULTS names another folder for records")


def _idle_options(options: argparse.Namespace, network: bool) -> list[str]:
    """Return the options given that change nothing: of a dry run, or of a run that trains no network."""
    names = ("resume", "validation") if network else ("deterministic",)
    idle = [f"--{name}" for name in names if getattr(options, name)] if options.dry_run or not network else []
    if options.dry_run and options.seeds != [0]:
        idle.append("--seeds")
    return idle


def _tell(text: str) -> None:
    """Write a line on standard error, of several processes one."""
    if first_process():
        print(f"atif_lib: {text}", file=sys.stderr)


def _reproduce(options: argparse.Namespace) -> int:
    from atif_lib.experiments import reproduce

    if (options.what == "all") == bool(options.tables):
        got = " ".join(map(str, [options.what, *options.tables]))
        raise ValueError(f"reproduce takes `table` with numbers, or `all` without, got {got}")
    if options.dry_run and options.snakefile:
        raise ValueError("reproduce takes --dry-run or --snakefile, got both")
    tables = options.tables or [1, 2, 3]
    checks.integer("jobs", options.jobs)
    chosen = options.seeds, options.protocol, options.profile
    found = reproduce.plan(tables, *chosen)
    if options.snakefile:
        workflow = reproduce.snakefile(found, options.jobs)
        paths.write_whole(options.snakefile, lambda file: file.write(workflow.encode()))
        command = f"snakemake --cores {reproduce.cores(options.jobs)} --snakefile {options.snakefile}"
        print(f"{options.snakefile}: {len(found.open)} rules; run it with {command}")
        return 0
    print(reproduce.describe(found), flush=True)  # before the timing, which may take minutes and needs the data
    seconds = reproduce.seconds_here(found, options.jobs, anew=options.dry_run)
    if seconds:
        print(f"\n{reproduce.describe(found, seconds, options.jobs)}", flush=True)
    if options.dry_run:
        return 0
    ran: set[str] = set()
    while not (failed := reproduce.run(found, seconds, options.jobs)):
        ran |= {job.run_id for job in found.open}
        found = reproduce.plan(tables, *chosen)
        if ran.issuperset(job.run_id for job in found.open):
            break
        _tell("runs are stale now, because what they start from came out with other weights: they are made again")
        print(reproduce.describe(found), flush=True)
        seconds = reproduce.seconds_here(found, options.jobs, anew=False)
    if failed:
        print(f"atif_lib: {', '.join(failed)} failed", file=sys.stderr)
    if options.protocol == "staged" and not options.profile:
        for number in tables:
            _print_table(number)
    else:  # the tables show complete runs in stages
        from atif_lib.results.records import load_all
        from atif_lib.results.tables import summary  # pandas, which a plan alone does not need

        names = {job.experiment: job.experiment for job in found.jobs}
        runs, metrics = load_all(), {"test accuracy, %": "test_accuracy", "θ": "theta"}
        # After failures there may be no record that has one of them, which `summary` would refuse.
        shown = {label: key for label, key in metrics.items() if not runs or any(key in r.result for r in runs)}
        print(summary(names, shown, found.jobs[0].profile, runs).to_string())
    return int(bool(failed))


def _be_deterministic() -> None:
    """Take algorithms that give the same bits in every run; torch warns of an operator that has none."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before its first call
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def _bench(options: argparse.Namespace) -> None:
    import torch

    from atif_lib.experiments import runs

    profile = options.profile or ("full" if torch.cuda.is_available() else "laptop")
    _tell_of_record(paths.results_folder(), "speed", profile, 0)
    record = runs.run("speed", profile)
    print(f"{record.run_id} on {record.device} ({record.wall_s:.0f} s), in {paths.results_folder()}")
    for what in ("neuron", "step"):
        found = record.result[what]
        print(f"{what:18}  median ms  / ours")
        for case, median_s in found["median_s"].items():
            peak = f"  {found['peak_mib'][case]:8.1f} MiB" if "peak_mib" in found else ""
            print(f"{case:18} {1000 * median_s:10.2f} {found['over_ours'][case]:7.2f}{peak}")


def _evaluate(options: argparse.Namespace) -> None:
    from atif_lib.experiments.runs import trained
    from atif_lib.training.evaluation import accuracy_over_time, evaluate

    network, examples = trained(options.run)
    metrics = evaluate(network, examples)
    print(f"{len(examples.test_labels):,} test examples of {examples.name}, source {examples.source}")
    rows = {k: f"{v:.4g}" + " %" * (k == "test_accuracy") for k, v in metrics.items() if not isinstance(v, dict)}
    rows |= {f"theta of {layer}": f"{theta:.4f}" for layer, theta in metrics.get("theta_layers", {}).items()}
    for t, accuracy in enumerate(accuracy_over_time(network, examples), 1):
        rows[f"after {t} timestep" + "s" * (t > 1)] = f"{accuracy:.2f} %"
    print("\n".join(f"{label:{max(map(len, rows))}}  {value}" for label, value in rows.items()))


def _export(options: argparse.Namespace) -> None:
    from atif_lib.experiments.runs import export

    if options.out:
        paths.make_folder("out", options.out)
    path, before, after = export(options.run, options.out or paths.weights_folder())
    print(f"{path} ({path.stat().st_size / 2**20:.2f} MiB): test accuracy {after:.2f} %, before {before:.2f} %")


def _table(options: argparse.Namespace) -> None:
    _print_table(options.number)


def _print_table(number: int) -> None:
    from atif_lib.results.tables import paper_table, training_table

    width, table = _width(), paper_table(number)
    print((table if width >= _WIDE else table.drop(columns="experiment")).to_string(line_width=width))
    print(f"\nHow ours were trained:\n{training_table(number).to_string(line_width=width)}")


def _width() -> int:
    """Return the columns of the terminal, or of COLUMNS; in a file or a pipe each row is a line."""
    return get_terminal_size(fallback=(1000, 0)).columns


def _figure(options: argparse.Namespace) -> None:
    from atif_lib.results.report import figure_chapters

    known = figure_chapters()
    chapters = {chapter for number, chapter in known.items() if number.startswith(options.number.upper())}
    if not options.number or not chapters:
        raise ValueError(f"figure {options.number!r} is not in the paper; it has {', '.join(known)}")
    for chapter in sorted(chapters):
        _run_chapter(chapter, options.profile, options.out)
    for path in sorted(options.out.glob(f"figure-{options.number.lower()}*")):
        print(path)


def _run_chapter(chapter: str, profile: str, out: Path) -> None:
    """Execute a chapter of the checkout; its figures and their data land in ``out``."""
    if paths.CHECKOUT is None:
        raise RuntimeError("figure runs a chapter of the book: it needs a checkout of the repository")
    try:
        import jupytext
        import papermill
    except ModuleNotFoundError as error:
        raise RuntimeError(f'figure needs {error.name}: run pip install ".[book]" in the checkout') from error
    source = paths.CHECKOUT / "book" / f"{chapter}.py"
    paths.make_folder("out", out)
    os.environ["ATIF_FIGURES"] = str(out.resolve())
    with TemporaryDirectory() as folder:  # a notebook of that name in ``out`` is the reader's
        notebook = Path(folder) / f"{chapter}.ipynb"
        jupytext.write(jupytext.read(source), notebook)
        _tell(f"running chapter {chapter}, which draws it")
        try:
            papermill.execute_notebook(
                str(notebook),
                str(notebook),
                {"profile": profile},
                kernel_name="python3",
                language="python",
                start_timeout=600,
                extra_arguments=["--log-level=CRITICAL"],
            )
        except papermill.PapermillExecutionError as error:
            if not os.environ.get("ATIF_RESULTS"):
                raise
            why = f"{error.ename}: {error.evalue}; the records that it shows are looked for in"
            raise RuntimeError(f"{chapter}: {why} ATIF_RESULTS={paths.results_folder()} alone") from None


def _report(options: argparse.Namespace) -> int:
    from atif_lib.results import report
    from atif_lib.results.records import load_all

    if options.check and options.format:
        raise ValueError("report takes --check or --format, got both")
    given = [f"--{name}" for name in ("check", "format", "update", "verdicts") if getattr(options, name)]
    if options.words and given:
        raise ValueError(f"report takes words or {given[0]}, got both: {' '.join(options.words)}")
    if options.update and not options.update.is_file():
        raise ValueError(f"update={str(options.update)!r}; allowed: a file that is there, such as README.md")
    if options.verdicts and paths.CHECKOUT is None:
        raise RuntimeError("report --verdicts rewrites the manifest: it needs a checkout of the repository")
    if options.verdicts:
        print("\n".join(report.update_verdicts()) or "every verdict is what the records say", file=sys.stderr)
    if options.update:
        report.update_readme(options.update)
    if options.check:
        stale = report.stale_readme(paths.CHECKOUT / "README.md") if paths.CHECKOUT else []
        renew = ["to renew the table, run: python -m atif_lib report --update README.md"] if stale else []
        disagreements = [*report.check(), *stale, *renew]
        print("\n".join(disagreements) or "manifest, README and records agree")
        return int(bool(disagreements))
    if (options.update or options.verdicts) and not options.format:
        return 0
    runs = load_all()
    measured = report.as_measured(runs=runs)
    if options.format in (None, "text"):
        print(report.report_text(report.having(measured, options.words), runs, width=_width()))
        return 0
    render = {"md": report.report_markdown, "readme": report.readme_table}
    print(render[options.format](measured, runs))
    return 0


def _data(options: argparse.Namespace) -> None:
    from atif_lib.data.load import DATASETS, fetch, load

    path = fetch(options.name)
    found = load(options.name)
    counts = f"{len(found.train_labels):,} training and {len(found.test_labels):,} test examples"
    held = DATASETS[options.name].sha256 or found.source in ("official", "features")  # what it was computed from was
    checked = "verified" if held else "noted"
    if not found.whole:
        checked = f"noted; for the whole, put it there, delete {path} and run this again"
    print(f"{found.name}: {counts}, source {found.source}, sha256 {found.sha256[:12]}… {checked}")
