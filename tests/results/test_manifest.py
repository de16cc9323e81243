"""The committed manifest lists the whole paper, its verdicts follow the records, and the README says the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from atif_lib import cli as command_line
from atif_lib import paths
from atif_lib.results import manifest as manifests
from atif_lib.results import records, report
from atif_lib.results.manifest import Measured, Quantity

ROOT = Path(__file__).parents[2]
COMMITTED = [r for r in records.load_all(records.RESULTS) if r.profile != "smoke"]  # which git ignores


@pytest.fixture(scope="module")
def listed():
    return manifests.load()


def test_verdicts_follow_the_committed_records():
    assert report.check(runs=COMMITTED) == []


def test_the_readme_table_is_what_the_records_give():
    assert report.stale_readme(ROOT / "README.md", runs=COMMITTED) == []


def test_every_figure_and_every_cell_of_the_paper_is_listed(listed):
    assert list(report.figure_chapters(listed)) == ["1A", "1B", "2A", "2B", "3A", "3B", "4", "5"]
    cells = {
        t: sorted(e.checks[0].paper for e in listed.entries if e.where == t) for t in ("Table 1", "Table 2", "Table 3")
    }
    assert cells["Table 1"] == sorted(
        [
            *(95.6, 95.96, 74.47, 74.35),
            *(92.51, 0.111, 93.84, 0.113, 93.13, 0.129, 94.65, 0.148),
            *(66.54, 0.159, 71.42, 0.192, 66.92, 0.167, 70.83, 0.191),
        ]
    )
    assert cells["Table 2"] == sorted([94.46, 94.31, 0.12, 94.29, 0.12])
    assert cells["Table 3"] == sorted([89.68, 0.17, 0.68, 93.84, 0.113, 0.452, 94.65, 0.148, 0.592])


def test_what_a_cell_says_is_where_it_stands(listed):
    assert {e.text for e in listed.of_kind("table")} == {f"{e.row}: {e.column}." for e in listed.of_kind("table")}


def test_the_schema_for_editors_is_that_of_the_models():
    renew = 'python -c "from atif_lib.results import manifest; manifest.write_schema()"'
    assert manifests.SCHEMA.read_text(encoding="utf-8") == manifests.schema(), f"to renew it, run: {renew}"
    first = manifests.MANIFEST.read_text(encoding="utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={manifests.SCHEMA.name}"


def test_the_schema_accepts_the_manifest_and_refuses_what_loading_refuses():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.validators.validator_for(json.loads(manifests.schema()))(json.loads(manifests.schema()))
    values = YAML(typ="safe", pure=True).load(manifests.MANIFEST.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(values)) == []
    cell = next(e for e in values["entries"] if e["kind"] == "table")
    pointer = cell["ours"]
    for change in (
        {"colour": "red"},
        {"row": None},
        {"kind": "claim"},
        {"verdict": "perhaps"},
        {"paper": "ten"},
        {"ours": pointer | {"profile": "smoke"}},
        {"ours": pointer | {"one_record": True}},
        {"ours": pointer | {"minus": {"minus": 3}}},
    ):
        changed = {key: value for key, value in (cell | change).items() if value is not None}
        assert not validator.is_valid(values | {"entries": [changed]}), change


def test_the_paper_s_numbers_agree_with_each_other(listed):
    paper = {e.id: e.checks[0].paper for e in listed.entries}
    for kind in ("fixed", "atif-u", "atif-nu"):  # spikes per neuron = θ T
        assert paper[f"table-3-{kind}-spikes"] == pytest.approx(4 * paper[f"table-3-{kind}-theta"])
    assert paper["vgg-0-44-spikes"] == pytest.approx(4 * paper["table-1-cifar10-vgg16-atif-u-theta"], abs=0.005)
    assert paper["threshold-plus-4-16"] == pytest.approx(paper["table-3-atif-u"] - paper["table-3-fixed"])
    assert paper["nonuniform-plus-0-81"] == pytest.approx(paper["table-3-atif-nu"] - paper["table-3-atif-u"])
    best = paper["table-1-cifar10-resnet18-atif-nu"]
    assert paper["cifar10-1-31-below-ann"] == pytest.approx(paper["table-1-cifar10-resnet18-ann"] - best)
    assert paper["gsc-0-15-below-ann"] == pytest.approx(paper["table-2-ann"] - paper["table-2-atif-u"])
    assert paper["cifar10-accuracy"] == best


def test_full_size_rows_come_from_full_size_networks_only(listed):
    for entry in listed.entries:
        for part in entry.checks:
            assert not (part.quantity and re.search("-small-|-resnet8-", part.quantity.experiment)), entry.id
            assert not (entry.kind == "table" and part.quantity.profile != "full"), entry.id


def test_cited_works_are_in_the_bibliography(listed):
    keys = set(re.findall(r"@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8")))
    assert {c.source for c in listed.cited} <= keys
    assert set(re.findall(r"\{cite:[tp]\}`([^`]+)`", report.report_markdown(runs=COMMITTED))) <= keys


def test_works_of_the_bibliography_are_cited():
    keys = set(re.findall(r"@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8")))
    pages = [*(ROOT / "book").glob("*.py"), *(ROOT / "book").glob("*.md"), *(ROOT / "atif_lib").rglob("*.py")]
    text = " ".join(page.read_text(encoding="utf-8") for page in pages)
    text += (ROOT / "data" / "manifest.yml").read_text(encoding="utf-8")
    assert not {key for key in keys if key not in text}


def test_no_committed_record_names_a_path_of_a_machine():
    for record in COMMITTED:
        text = json.dumps(record.__dict__, default=str)
        assert not re.search(r'"/|/(home|Users|root|work|tmp)/|[A-Z]:\\\\', text), record.run_id


def test_the_command_line_renders_and_checks():
    def run(*arguments):
        command = [sys.executable, "-m", "atif_lib", "report", *arguments]
        environment = {**os.environ, "ATIF_RESULTS": str(records.RESULTS)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert run("--format", "readme").stdout.strip() == report.readme_table(runs=COMMITTED)
    assert run("--check").returncode == 0


def test_the_command_checks_the_readme_too(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ATIF_RESULTS", str(records.RESULTS))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert command_line.main(["report", "--check"]) == 0
    (tmp_path / "README.md").write_text(text.replace("10.64", "4.01"), encoding="utf-8")
    capsys.readouterr()
    assert command_line.main(["report", "--check"]) == 1
    said = capsys.readouterr().out
    assert "4.01" in said
    assert said.endswith("to renew the table, run: python -m atif_lib report --update README.md\n")


def test_a_table_starts_without_what_it_does_not_need():
    """Their imports take seconds."""
    code = "import sys; from atif_lib.results import report, tables; print({'torch', 'scipy.stats'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_a_folder_that_is_not_there_is_no_folder_without_records(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path / "resluts"))
    assert command_line.main(["report", "--check"]) == 2
    assert re.fullmatch(r"atif_lib: ATIF_RESULTS=.*resluts is no folder; allowed: .*\n", capsys.readouterr().err)


def test_the_commands_of_an_entry_train_before_it_what_it_starts_from(listed):
    from atif_lib.experiments.registry import EXPERIMENTS

    for entry in listed.all():
        for n, (name, profile) in enumerate(entry.trained):
            start = getattr(EXPERIMENTS[name], "start", None)
            assert start is None or (start, profile) in entry.trained[:n], entry.id


@pytest.mark.parametrize("validation", [False, True])
def test_a_setting_that_a_record_lacks_had_what_is_now_its_default(validation):
    from dataclasses import fields

    from atif_lib.experiments.registry import EXPERIMENTS
    from atif_lib.training.recipe import Recipe

    for record in records.load_all(records.RESULTS, validation):
        now = {field.name: field.default for field in fields(EXPERIMENTS[record.experiment])}
        if "recipe" in now:
            now |= {f"recipe.{field.name}": field.default for field in fields(Recipe)}
        lacking = now.keys() - record.config.keys() - {f"recipe.{name}" for name in record.config.get("recipe", ())}
        had = {name: json.loads(json.dumps(now[name])) for name in lacking}
        assert had == {name: records.ADDED.get(name, "no default in records.ADDED") for name in lacking}, record.run_id


def test_one_record_says_all_of_exactly_the_experiments_that_no_seed_changes():
    from atif_lib.experiments.networks import NetworkExperiment
    from atif_lib.experiments.one_neuron import GradientExperiment, NeuronExperiment
    from atif_lib.experiments.registry import EXPERIMENTS

    def draws(experiment):
        learns = isinstance(experiment, NeuronExperiment) and experiment.steps > 0
        return learns or isinstance(experiment, NetworkExperiment | GradientExperiment)

    assert sorted(manifests.load().one_record) == sorted(name for name, e in EXPERIMENTS.items() if not draws(e))


def test_the_family_of_changes_is_every_change_of_chapter_14(listed):
    from atif_lib.experiments.registry import CHANGES

    assert set(listed.families["better"]) == {f"cifar10-small-{name}" for name in (*CHANGES["neuron"], "atif-u-half")}


def test_almost_3_db_is_not_met_by_much_more(listed):
    checks = {e.id: e.checks for e in listed.entries}
    for check in (*checks["almost-3-db"], *checks["fig-5"]):
        judged = {v: check.holds(Measured(v, None, 1, (), (v, v))) for v in (2.6, 2.9, 3.01, 3.38, 3.54)}
        assert list(judged.values()) == [False, True, True, False, False]


def test_a_difference_is_of_networks_that_were_trained_alike():
    """In stages both, or neither: else it would be one of protocols."""
    quantities = [quantity for entry in manifests.load().all() for quantity in entry.quantities]
    differences = [q for q in quantities if isinstance(q.minus, Quantity)]
    assert len(differences) > 20
    for quantity in differences:
        assert quantity.experiment.endswith("-staged") == quantity.minus.experiment.endswith("-staged"), quantity
