"""The command line: what it prints, what it leaves, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_worker as worker

from atif_lib import cli as command_line
from atif_lib import paths
from atif_lib.experiments import runs
from atif_lib.experiments.registry import EXPERIMENTS
from atif_lib.results import manifest, records, report
from atif_lib.results.report import figure_chapters
from atif_lib.training import loop as training

QUICK = "cifar10-small-relu"


@pytest.fixture(autouse=True)
def folders(digits, results, tmp_path, monkeypatch):
    """Empty folders for records and runs."""
    monkeypatch.setenv("ATIF_RUNS", str(tmp_path / "runs"))
    worker.shrink_smoke(monkeypatch)
    return results, tmp_path / "runs"


@pytest.fixture
def run(capsys):
    def call(*arguments):
        """Return exit status, output and errors."""
        capsys.readouterr()
        status = command_line.main(arguments)
        return status, *capsys.readouterr()

    return call


def test_list_names_every_experiment_with_its_profile_and_summary(run):
    status, output, _ = run("list")
    lines = output.splitlines()
    assert status == 0
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    for line, experiment in zip(lines, EXPERIMENTS.values(), strict=True):
        assert line.split()[1] == experiment.profiles[-1]
        assert line.endswith(experiment.summary)


def test_list_finds_by_words(run):
    _, output, _ = run("list", "gsc", "nu")
    names = [line.split()[0] for line in output.splitlines()]
    assert names == [name for name in EXPERIMENTS if "gsc" in name and "nu" in name]
    assert run("list", "imagenet", "gsc") == (
        2,
        "",
        "atif_lib: no experiment's name has 'imagenet' and 'gsc'; see `list` without words\n",
    )


def test_train_then_evaluate(run, folders):
    results, _ = folders
    status, output, _ = run("train", QUICK, "--profile", "smoke", "--seeds", "0", "1")
    assert status == 0
    assert sorted(os.listdir(results)) == [f"{QUICK}-smoke-s{seed}.json" for seed in (0, 1)]
    found = [records.load(path) for path in sorted(results.iterdir())]
    accuracies = [record.result["test_accuracy"] for record in found]
    for line, seed, accuracy in zip(output.splitlines(), (0, 1), accuracies, strict=True):
        assert line.startswith(f"{QUICK}-smoke-s{seed}: ")
        assert f"test_accuracy {accuracy:.4g}" in line
    assert found[0].result["train_loss"] != found[1].result["train_loss"]
    status, output, _ = run("evaluate", f"{QUICK}-smoke-s1")
    assert status == 0
    assert output.splitlines() == [
        "64 test examples of digits, source scikit-learn",
        f"test_accuracy     {accuracies[1]:.4g} %",
        f"after 1 timestep  {accuracies[1]:.2f} %",
    ]


def test_a_dry_run_prints_the_cost_and_leaves_nothing(run, folders):
    status, output, _ = run("train", QUICK, "--profile", "smoke", "--dry-run")
    assert status == 0
    for label in ("parameters", "MACs for one input", "seconds an update", "training time", "peak memory"):
        assert label in output
    assert not any(folder.exists() for folder in folders)


def test_of_several_processes_one_tells_the_cost(run, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(runs, "estimate", lambda *arguments: {"parameters": "1"})
    assert run("train", QUICK, "--profile", "smoke", "--dry-run") == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    assert run("train", QUICK, "--profile", "smoke", "--dry-run") == (0, f"{'parameters':20} 1\n", "")


def test_resumed_it_leaves_alone_what_has_ended(run, folders):
    run("train", QUICK, "--profile", "smoke", "--seeds", "1")
    before = (folders[0] / f"{QUICK}-smoke-s1.json").read_bytes()
    status, output, errors = run("train", QUICK, "--profile", "smoke", "--seeds", "1", "2", "--resume")
    assert status == 0
    assert "seed 1 has ended: nothing to do (without --resume it would be trained anew)" in errors
    assert "seed 1 starts" not in errors
    assert [line.split(":")[0] for line in output.splitlines()] == [f"{QUICK}-smoke-s2"]
    assert (folders[0] / f"{QUICK}-smoke-s1.json").read_bytes() == before
    (folders[1] / f"{QUICK}-smoke-s1" / "weights.safetensors").unlink()
    assert "has ended" not in run("train", QUICK, "--profile", "smoke", "--seeds", "1", "--resume")[2]


def test_a_seed_given_twice_is_trained_once(run, monkeypatch):
    seen, record = [], records.load(records.RESULTS / "toy-fixed-laptop-s0.json")
    monkeypatch.setattr(runs, "run", lambda name, profile, seed, *options: seen.append(seed) or record)
    assert run("train", "toy-fixed", "--seeds", "1", "0", "1")[0] == 0
    assert seen == [1, 0]


def test_interrupted_it_says_how_to_go_on(run, monkeypatch, folders):
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    worker.signal_before(3, signal.SIGINT)
    status, output, errors = run("train", QUICK, "--profile", "smoke")
    assert (status, output) == (130, "")
    assert errors.splitlines()[-1] == "atif_lib: interrupted; --resume goes on from here"
    assert (folders[1] / f"{QUICK}-smoke-s0" / "checkpoint.pt").is_file()
    status, _, errors = run("train", QUICK, "--profile", "smoke", "--resume")
    assert (status, "no checkpoint" in errors) == (0, False)
    assert os.listdir(folders[0]) == [f"{QUICK}-smoke-s0.json"]


def test_interrupted_among_several_seeds_it_says_which_are_left(run, monkeypatch):
    monkeypatch.setattr(training, "mixed_loss", training.mixed_loss)
    worker.signal_before(11, signal.SIGINT)  # 8 updates a seed
    status, _, errors = run("train", QUICK, "--profile", "smoke", "--seeds", "4", "5", "6")
    assert (status, errors.splitlines()[-1]) == (
        130,
        "atif_lib: interrupted; --seeds 5 6 --resume goes on from here",
    )


@pytest.mark.parametrize("arguments", [["toy-fixed", "--profile", "smoke"], [QUICK, "--profile", "smoke"]])
def test_interrupted_without_a_checkpoint_it_promises_nothing(run, monkeypatch, arguments):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", interrupted)
    assert run("train", *arguments) == (130, "", "atif_lib: interrupted\n")


IDLE = {
    "toy-fixed --profile smoke --deterministic": "--deterministic: of no use to a run that trains no network",
    f"{QUICK} --profile smoke --dry-run --resume --seeds 3": "--resume, --seeds: of no use to a dry run",
    f"{QUICK} --profile smoke --resume": "no checkpoint in ",
}


@pytest.mark.parametrize("line", IDLE)
def test_options_that_change_nothing_are_told(run, line, monkeypatch):
    monkeypatch.setenv("RANK", "")  # as a launcher's script may leave it
    monkeypatch.setattr(command_line, "_be_deterministic", lambda: None)  # torch would stay so in the tests to come
    status, output, errors = run("train", *line.split())
    assert status == 0
    assert errors.splitlines()[0].startswith(f"atif_lib: {IDLE[line]}")
    assert not output.rstrip().endswith("validation"), "the record is in the folder that is named"
    assert (
        run("train", *line.replace("--resume", "").replace("--deterministic", "").split("--seeds")[0].split())[2].count(
            "atif_lib: "
        )
        == 0
    )


def test_deterministic_algorithms_are_taken_when_asked_for(run, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = []
    monkeypatch.setattr(runs, "run", lambda *a: seen.append(torch.are_deterministic_algorithms_enabled()) or 1 / 0)
    try:
        for flag in ([], ["--deterministic"]):
            with pytest.raises(ZeroDivisionError):
                run("train", QUICK, *flag)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen == [False, True]
    assert not torch.backends.cudnn.benchmark
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"


def test_resume_and_validation_reach_the_run(run, monkeypatch):
    asked = []

    def note(*arguments):
        asked.append(arguments)
        raise ValueError("enough")

    monkeypatch.setattr(runs, "run", note)
    run("train", QUICK, "--resume")
    run("train", QUICK, "--profile", "smoke", "--validation", "--seeds", "3")
    assert asked == [(QUICK, None, 0, True, False), (QUICK, "smoke", 3, False, True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "cifar10-small-rel"], "unknown experiment 'cifar10-small-rel': did you mean cifar10-small-relu"),
        (["train", QUICK, "--profile", "full"], "; allowed: 'smoke', 'laptop'"),
        (["train", QUICK], "cifar10.bin is not there; to fetch it, run: python -m atif_lib data cifar10"),
        (["train", "toy-fixed", "--dry-run"], "toy-fixed trains no network"),
        (["train", "toy-fixed", "--profile", "smoke", "--seeds", "-1"], "seed=-1; allowed: an integer, 0 or more"),
        (
            ["train", QUICK, "--profile", "smoke", "--seeds", "0", f"{10**20}"],
            f"allowed: an integer, {2**63 - 1} or less",
        ),
        (["train", "toy-staircase", "--seeds", "0", "1"], "seeds=[0, 1]; allowed: 0 alone, for toy-staircase uses no"),
        (["train", "speed", "--profile", "smoke", "--seeds", "7"], "seeds=[7]; allowed: 0 alone, for speed uses no"),
        (["report", "--check", "--format", "md"], "report takes --check or --format, got both"),
        (["report", "vgg", "--check"], "report takes words or --check, got both: vgg"),
        (["report", "--update", "nix.md"], "update='nix.md'; allowed: a file that is there"),
        (["train", "toy-fixed", "--resume"], "--resume: toy-fixed trains no network"),
        (["train", "toy-fixed", "--validation", "--resume"], "--resume and --validation: toy-fixed trains no network"),
        (["reproduce", "all", "3"], "or `all` without, got all 3"),
        (["figure", "1A", "--out", str(Path(__file__))], "test_cli.py'; allowed: a folder that is there or can be"),
        (["evaluate", f"{QUICK}-smoke-s9"], "no weights at"),
        (["figure", "9"], "figure '9' is not in the paper"),
        (["figure", ""], "figure '' is not in the paper"),
        (["data", "cifr10"], "did you mean cifar10"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_status_2(run, arguments, message, folders):
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("atif_lib: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("arguments", [[], ["tain"], ["train"], ["train", QUICK, "--profile", "huge"], ["table", "4"]])
def test_misspelt_commands_are_explained(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line.main(arguments)
    assert "usage: python -m atif_lib" in capsys.readouterr().err


def test_without_a_command_all_are_listed(capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line.main([])
    output, errors = capsys.readouterr()
    assert output == ""
    for command in ("train", "reproduce", "evaluate", "report"):
        assert f"\n    {command}" in errors


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tables_have_the_paper_s_values(run, number, folders):
    folders[0].mkdir()
    status, output, _ = run("table", str(number))
    assert status == 0
    paper = {1: ("95.6", "71.42", "0.191"), 2: ("94.46", "94.31", "0.12"), 3: ("89.68", "0.113", "0.592")}[number]
    assert all(value in output for value in paper)
    assert "not run" in output, "there is no record here"


def test_a_table_fits_the_terminal_and_is_a_line_a_row_in_a_file(run, folders, monkeypatch):
    folders[0].mkdir()
    monkeypatch.setenv("COLUMNS", "100")
    _, output, _ = run("table", "3")
    assert max(map(len, output.splitlines())) <= 100
    monkeypatch.delenv("COLUMNS")  # then it asks the terminal, and here is none
    _, output, _ = run("table", "3")
    assert [line.count("89.68") for line in output.splitlines() if line.startswith("Uniform V_th fixed")] == [1, 0]


def test_as_a_process(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2])}
    command = [sys.executable, "-m", "atif_lib"]
    ran = subprocess.run([*command, "list", "toy"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("toy-staircase")


@pytest.mark.parametrize("missing", ["jupytext", "papermill"])
def test_a_figure_asks_for_what_the_book_is_made_with(run, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert run("figure", "1") == (
        2,
        "",
        f'atif_lib: figure needs {missing}: run pip install ".[book]" in the checkout\n',
    )


def test_a_figure_is_made_by_its_chapter(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_FIGURES", "")  # the command sets it for the chapter's process
    status, output, _ = run("figure", "1", "--profile", "smoke", "--out", str(tmp_path / "figures"))
    assert status == 0
    names = {f"figure-1{part}.{kind}" for part in "ab" for kind in ("svg", "png", "csv")}
    assert names <= set(os.listdir(tmp_path / "figures"))
    assert all(name in output for name in names)


def test_a_reader_s_notebook_beside_the_figures_is_kept(run, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")
    chapter, executed = figure_chapters()["1A"], []
    monkeypatch.setenv("ATIF_FIGURES", "")  # the command sets it for the chapter's process
    monkeypatch.setattr(papermill, "execute_notebook", lambda source, *rest, **options: executed.append(Path(source)))
    notes = tmp_path / f"{chapter}.ipynb"
    notes.write_text("my notes", encoding="utf-8")
    for _ in range(2):
        assert run("figure", "1A", "--profile", "smoke", "--out", str(tmp_path))[0] == 0
    assert notes.read_text(encoding="utf-8") == "my notes"
    assert len(set(executed)) == 2
    assert not any(path.parent.exists() for path in executed)


def test_a_chapter_that_fails_says_which_folder_of_records_it_saw(run, results, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")

    def fail(*_, **__):
        raise papermill.PapermillExecutionError(1, 1, "(fixed,) = []", "ValueError", "not enough values", [])

    results.mkdir()
    monkeypatch.setenv("ATIF_FIGURES", "")
    monkeypatch.setattr(papermill, "execute_notebook", fail)
    status, _, errors = run("figure", "1A", "--out", str(tmp_path))
    assert status == 2
    assert "ValueError: not enough values; the records that it shows are looked for in ATIF_RESULTS=" in errors
    monkeypatch.delenv("ATIF_RESULTS")
    with pytest.raises(papermill.PapermillExecutionError):
        run("figure", "1A", "--out", str(tmp_path))


def test_the_report_on_a_folder_of_one_s_own_has_the_verdicts_of_its_records(run, results):
    results.mkdir()
    status, output, _ = run("report")
    assert status == 0
    *lines, paper, small, beyond = output.strip().splitlines()
    assert all(line.endswith("not run") for line in (paper, small, beyond))
    assert not any(line.startswith(("reproduced", "partly", "open", "not  ")) for line in lines)
    assert "n stages of 12, 3 and 1 epochs" not in output, "a note on what other records say"


def test_the_report_has_only_what_is_asked_for(run, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(paths.shipped_results()))
    status, output, _ = run("report", "TABLE", "3", "theta")
    assert status == 0
    named = {line.split()[1] for line in output.splitlines() if line.endswith(" [Table 3]")}
    assert named == {"table-3-fixed-theta:", "table-3-atif-u-theta:", "table-3-atif-nu-theta:"}
    assert output.strip().endswith("3 figures, table cells and claims of the paper: 3 not")


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("section 1", {"Section 1", "Sections 1 and 4.2"}),
        ("figure 1", {"Figure 1A", "Figure 1B"}),
        ("Figure 1A", {"Figure 1A"}),
        ("table 2 ann", {"Table 2"}),
    ],
)
def test_the_report_finds_places(words, places):
    assert {entry.where for entry in report.having(manifest.load(), words.split()).entries} == places


def test_the_report_says_that_it_finds_nothing():
    with pytest.raises(ValueError, match="no entry has 'nothing' and '9' in its id, place, text or verdict"):
        report.having(manifest.load(), ["nothing", "9"])


def test_the_report_finds_verdicts():
    found = report.having(manifest.load(), ["reproduced"])
    assert {entry.verdict for entry in found.all() if "reproduced" not in entry.text} == {"reproduced"}


def test_the_report_fits_the_terminal(run, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(paths.shipped_results()))
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = run("report", "eq.")
    assert max(map(len, output.splitlines())) <= 80


def test_a_record_that_will_be_replaced_is_told_of(run, results):
    for told in (False, True):
        status, _, errors = run("train", "toy-fixed", "--profile", "laptop")
        assert status == 0
        assert ("this replaces the record" in errors) is told
