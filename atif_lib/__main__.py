"""Command line: ``python -m atif_lib {list,train,figure,report,data}``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can mend are one line on standard error and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"atif_lib: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m atif_lib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    commands.add_parser("list", help="list the experiments").set_defaults(command=_list)

    train = commands.add_parser("train", help="run an experiment and save its record")
    train.add_argument("name", help="see `list`")
    train.add_argument("--profile", default="laptop", choices=("smoke", "laptop", "full"))
    train.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED")
    train.set_defaults(command=_train)

    figure = commands.add_parser("figure", help="make a figure of the paper again: SVG, PNG and CSV")
    figure.add_argument("number", help="its number in the paper, for example 3 or 3A")
    figure.add_argument("--profile", default="laptop", choices=("smoke", "laptop", "full"))
    figure.add_argument("--out", type=Path, default=Path("_build/figures"), help="folder to write to")
    figure.set_defaults(command=_figure)

    report = commands.add_parser("report", help="what reproduces, claim by claim")
    report.add_argument("--format", default="text", choices=("text", "md", "readme"))
    report.add_argument("--check", action="store_true", help="fail where manifest and records disagree")
    report.add_argument("--update", type=Path, metavar="README", help="rewrite the claims table of this file")
    report.set_defaults(command=_report)

    data = commands.add_parser("data", help="fetch and verify a data set")
    data.add_argument("name", help="for example cifar10")
    data.set_defaults(command=_data)
    return parser


def _list(options: argparse.Namespace) -> None:
    from atif_lib.experiments import EXPERIMENTS

    width = max(map(len, EXPERIMENTS))
    for name, experiment in EXPERIMENTS.items():
        print(f"{name:{width}}  {experiment.summary}")


def _train(options: argparse.Namespace) -> None:
    from atif_lib.experiments import run

    for seed in options.seeds:
        record = run(options.name, options.profile, seed)
        metrics = ", ".join(f"{k} {v:.4g}" for k, v in record.result.items() if isinstance(v, int | float))
        print(f"{record.run_id}: {metrics} ({record.wall_s:.0f} s)", flush=True)


def _figure(options: argparse.Namespace) -> None:
    from atif_lib.report import figure_chapters

    known = figure_chapters()
    chapters = {chapter for number, chapter in known.items() if number.startswith(options.number.upper())}
    if not chapters:
        raise ValueError(f"figure {options.number!r} is not in the paper; it has {', '.join(known)}")
    for chapter in sorted(chapters):
        _run_chapter(chapter, options.profile, options.out)
    for path in sorted(options.out.glob(f"figure-{options.number.lower()}*")):
        print(path)


def _run_chapter(chapter: str, profile: str, out: Path) -> None:
    """Execute a chapter of the checkout; its figures and their data land in ``out``."""
    import jupytext
    import papermill

    source = Path(__file__).resolve().parents[1] / "book" / f"{chapter}.py"
    if not source.is_file():
        raise FileNotFoundError(f"{source} is missing: figures are made by the book's chapters, so run in a checkout")
    out.mkdir(parents=True, exist_ok=True)
    os.environ["ATIF_FIGURES"] = str(out.resolve())
    notebook = out / f"{chapter}.ipynb"
    jupytext.write(jupytext.read(source), notebook)
    try:
        papermill.execute_notebook(str(notebook), str(notebook), {"profile": profile}, kernel_name="python3")
    finally:
        notebook.unlink()


def _report(options: argparse.Namespace) -> int:
    from atif_lib import report

    if options.update:
        report.update_readme(options.update)
    if options.check:
        disagreements = report.check()
        print("\n".join(disagreements) or "manifest and records agree")
        return int(bool(disagreements))
    render = {"text": report.report_text, "md": report.report_markdown, "readme": report.readme_table}
    print(render[options.format]())
    return 0


def _data(options: argparse.Namespace) -> None:
    from atif_lib.data import fetch, load

    fetch(options.name)
    images = load(options.name)
    counts = f"{len(images.train_labels):,} training and {len(images.test_labels):,} test images"
    print(f"{images.name}: {counts}, source {images.source}, sha256 {images.sha256[:12]}… verified")


if __name__ == "__main__":
    sys.exit(main())
