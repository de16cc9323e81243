"""Verdicts follow records by the rules, and pages and tables show what the records hold; on a made-up manifest."""

import re

import pytest

from atif_lib import manifest as manifests
from atif_lib import records, report
from atif_lib.manifest import Check, ManifestError, Source


def record(experiment="net", seed=0, profile="full", **result):
    commit, date = "0" * 40, "2023-03-03T12:00:00+00:00"
    return records.Record(experiment, profile, seed, {}, commit, False, date, {}, "cpu", None, [], result, 1.0, None)


RUNS = [record(x=10.0), record("other", x=0.0)]


def part(paper=10.0, relation="=", tolerance=0.0, minus=None):
    return Check("text", paper, "dB", relation, tolerance, Source("net", "x", "full", minus))


@pytest.mark.parametrize(
    ("relation", "paper", "tolerance", "value", "holds"),
    [
        ("=", 10, 0.5, 10.5, True),
        ("=", 10, 0.5, 10.6, False),
        ("=", 10, 0.5, 9.4, False),
        (">=", 10, 0.5, 9.5, True),
        (">=", 10, 0.5, 9.4, False),
        (">=", 10, 0.5, 99, True),
        ("<=", 10, 0.5, 10.6, False),
        ("<=", 10, 0.5, -99, True),
        (">", 10, 0, 10.1, True),
        (">", 10, 0, 10, False),
        ("<", 10, 0, 10, False),
        ("<", 10, 0, 9.9, True),
        ("between", (1, 2), 0.5, 2.5, True),
        ("between", (1, 2), 0.5, 2.6, False),
        ("between", (1, 2), 0.5, 0.4, False),
    ],
)
def test_relations(relation, paper, tolerance, value, holds):
    ours = part().measure([record(x=value)])
    assert part(paper, relation, tolerance).holds(ours) is holds


def test_a_strict_relation_within_the_spread_of_the_seeds_is_open():
    def held(*values):
        runs = [record(seed=seed, x=value) for seed, value in enumerate(values)]
        return part(0.0, ">").holds(part().measure(runs))

    assert held(1.0, 1.1, 0.9) is True
    assert held(3.0, -2.0, 0.5) is None
    assert held(-3.0, 2.0, -0.5) is None
    assert held(-1.0, -1.1, -0.9) is False


def test_a_value_is_the_mean_over_the_seeds_of_its_profile():
    runs = [record(seed=0, x=1.0), record(seed=1, x=3.0), record(seed=2, profile="laptop", x=99.0)]
    ours = part().measure(runs)
    assert (ours.mean, ours.n, ours.run_ids) == (2.0, 2, ("net-full-s0", "net-full-s1"))
    assert ours.sd == pytest.approx(2**0.5)
    assert part(minus=0.5).measure(runs).mean == 1.5
    assert part().measure(runs[2:]) is None
    with pytest.raises(records.RecordError, match="no metric 'x'"):
        part().measure([record(y=1.0)])


def test_a_difference_of_two_experiments_is_paired_by_seed():
    minus = Source("other", "x", "full")
    runs = [record(seed=s, x=10.0 * s + 1) for s in (0, 1)] + [record("other", seed=s, x=10.0 * s) for s in (0, 1)]
    paired = part(minus=minus).measure(runs)
    assert (paired.mean, paired.sd, paired.n) == (1.0, 0.0, 2)
    one = part(minus=minus).measure(runs[:3])
    assert (one.mean, one.sd, one.n, one.run_ids) == (1.0, None, 1, ("net-full-s0", "other-full-s0"))
    unpaired = part(minus=minus).measure([*runs[:2], record("other", seed=7, x=0.0)])
    assert (unpaired.mean, unpaired.n) == (6.0, 1), "the smaller number of seeds"
    assert unpaired.sd == pytest.approx(50**0.5)
    third = [record(seed=2, x=99.0)]
    assert part(minus=minus).measure(runs + third) == paired, "seeds that one lacks do not count"
    assert part(minus=minus).measure(runs[:2]) is None


ENTRY = """
command: run {experiment} --profile {profile}
entries:
  - id: one
    kind: claim
    where: Section 3.3
    text: "A gain | of 10 dB at V_th."
    chapter: 04_uniform_threshold
    headline: true
    paper: 10
    unit: dB
    tolerance: 0.5
    ours: {experiment: net, metric: x, profile: full}
    verdict: not run
    note: ""

  - id: two
    kind: claim
    where: Section 4.4
    text: Two facts.
    chapter: 09_ablation
    headline: true
    checks:
      - {text: first, paper: 0, unit: dB, relation: ">", ours: {experiment: net, metric: x, profile: full}}
      - text: second
        paper: 0
        unit: dB
        relation: "<"
        ours: {experiment: net, metric: x, profile: full, minus: {experiment: other}}
    verdict: not run
    note: why
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "manifest.yml"
    path.write_text(ENTRY)
    return path


def test_verdicts_without_records_are_not_run(path):
    assert report.check(manifests.load(path), []) == []
    for verdict in ("reproduced", "partly", "not"):
        path.write_text(ENTRY.replace("verdict: not run", f"verdict: {verdict}", 1))
        assert any("'not run'" in line for line in report.check(manifests.load(path), []))


def test_a_record_that_arrives_changes_the_verdict(path):
    found = report.check(manifests.load(path), RUNS)
    assert [line.partition(":")[0] for line in found] == ["one", "two"]
    assert report.update_verdicts(path, RUNS) == ["one", "two"]
    assert [e.verdict for e in manifests.load(path).entries] == ["reproduced", "partly"]
    assert report.check(manifests.load(path), RUNS) == []
    assert report.update_verdicts(path, RUNS) == []
    worse = [record(x=9.4), record("other", x=9.5)]
    assert report.update_verdicts(path, worse) == ["one", "two"]
    assert [e.verdict for e in manifests.load(path).entries] == ["not", "reproduced"]
    assert report.check(manifests.load(path), worse) == ["one: the verdict 'not' needs a note that says why"]
    assert report.update_verdicts(path, []) == ["one", "two"]
    assert path.read_text() == ENTRY


def test_one_missing_record_leaves_an_entry_not_run(path):
    assert [e.expected(RUNS[:1]) for e in manifests.load(path).entries] == ["reproduced", "not run"]


def test_a_judged_partly_stands_where_there_are_records_only(path):
    path.write_text(ENTRY.replace('verdict: not run\n    note: ""', "verdict: partly\n    judged: true\n    note: why"))
    assert report.check(manifests.load(path), RUNS[:1]) == []
    assert report.update_verdicts(path, RUNS[:1]) == []
    assert report.check(manifests.load(path), []) == ["one: the verdict is 'partly', the records say 'not run'"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: one", "id: two", "id two stands more than once"),
        ("id: one", "id: The One", "'The One'"),
        ("kind: claim", "kind: guess", "entry 'one': kind = 'guess': expected one of figure, table, claim"),
        ("04_uniform_threshold", "07_dreams", "chapter = '07_dreams'"),
        ("verdict: not run", "verdict: perhaps", "verdict = 'perhaps'"),
        ("verdict: not run", "verdict: not run\n    judged: true", "judged goes with"),
        ("paper: 10", "paper: ten", "paper = 'ten'"),
        ("tolerance: 0.5", "tolerance: -1", "tolerance = -1"),
        ("tolerance: 0.5", 'relation: ">"\n    tolerance: 0.5', "0 on < and >"),
        ("unit: dB", "colour: red", "unknown key colour"),
        ("profile: full", "profile: smoke", "profile = 'smoke'"),
        ("metric: x, ", "", "missing metric"),
        ("    where: Section 3.3\n", "", "missing where"),
        ("checks:", "tolerance: 1\n    checks:", "tolerance beside checks"),
        ("entries:", "claims:", "unknown key claims"),
        ("entries:\n", "entries:\n  - just words\n", "an entry: expected a mapping"),
        ("verdict: not run", "verdict: [", "manifest.yml"),
    ],
)
def test_a_wrong_manifest_is_named(path, old, new, message):
    assert old in ENTRY
    path.write_text(ENTRY.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        manifests.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_page_shows_what_was_measured_and_by_which_runs(path):
    report.update_verdicts(path, RUNS)
    page = report.report_markdown(manifests.load(path), RUNS, ["04_uniform_threshold"])
    assert "| **reproduced** · A gain \\| of 10 dB at $V_{th}$. {doc}" in page
    assert "| 10 dB | 10 dB (n = 1, full) |" in page
    assert "<04_uniform_threshold>`" in page
    assert "09_ablation (to come)" in page
    assert "<09_ablation>" not in page
    assert "| – second *(fails)* | < 0 dB | 10 dB (n = 1, full) |" in page
    assert "* runs `net-full-s0`" in page
    assert "| `other-full-s0` | `000000000` | 2023-03-03 |" in page
    assert "| Claims | 1 | 1 | 0 | 0 |" in page
    assert page.count(":::{dropdown}") * 2 == len(re.findall(r"^:::", page, re.MULTILINE))


def test_seeds_stand_in_value_and_command(path):
    runs = [record(seed=s, x=x) for s, x in enumerate((10.0, 10.1, 10.2))]
    page = report.report_markdown(manifests.load(path), runs, [])
    assert "10.10 ± 0.10 dB (n = 3, full)" in page
    assert "`run net --profile full --seeds 0 1 2`" in page


def test_a_small_number_is_not_rounded_to_nothing_and_none_is_made_up(path):
    assert "0.0004 dB (n = 1, full)" in report.report_markdown(manifests.load(path), [record(x=0.0004)], [])
    page = report.report_markdown(manifests.load(path), [], [])
    assert "No run record is committed yet." in page
    assert "(n =" not in page


def test_readme_round_trip(path, tmp_path):
    readme = tmp_path / "README.md"
    listed = manifests.load(path)
    readme.write_text(f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nrest\n")
    assert report.stale_readme(readme, listed, RUNS)
    assert report.update_readme(readme, listed, RUNS) is True
    assert report.update_readme(readme, listed, RUNS) is False
    assert report.stale_readme(readme, listed, RUNS) == []
    text = readme.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith(f"{report.END}\n\nrest\n")
    assert "| Section 3.3 | A gain \\| of 10 dB at V_th. | 10 dB | 10 dB (n = 1, full) | not run |" in text
    assert report.stale_readme(readme, listed, [record(x=10.2)])
    readme.write_text(text.replace("10 dB (n = 1", "11 dB (n = 1"))
    assert "11 dB" in "".join(report.stale_readme(readme, listed, RUNS))
    readme.write_text("no table")
    assert "expected one" in report.stale_readme(readme, listed, RUNS)[0]
    with pytest.raises(ValueError, match="claims:begin"):
        report.update_readme(readme, listed, RUNS)


def test_the_text_report_counts_every_entry(path):
    text = report.report_text(manifests.load(path), RUNS)
    assert text.splitlines()[-1] == "2 figures, table cells and claims: 0 reproduced, 0 partly, 0 not, 2 not run"
    assert "one: A gain" in text


def test_a_readme_row_of_several_checks_counts_those_that_hold(path):
    row = next(line for line in report.readme_table(manifests.load(path), RUNS).splitlines() if "Two facts" in line)
    assert "| > 0 dB | 10 dB (n = 1, full); 1 of 2 checks hold |" in row
    row = next(line for line in report.readme_table(manifests.load(path), []).splitlines() if "Two facts" in line)
    assert "| 2 checks | – | not run |" in row
    path.write_text(
        path.read_text().replace("kind: claim\n    where: Section 4.4", "kind: figure\n    where: Figure 9")
    )
    row = next(line for line in report.readme_table(manifests.load(path), RUNS).splitlines() if "Two facts" in line)
    assert "| 2 checks | 1 of 2 checks hold |" in row


def test_a_summary_has_mean_and_spread_and_its_provenance_names_code_and_device(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path))
    for seed, x in enumerate((1.0, 3.0)):
        records.save(record(seed=seed, profile="laptop", x=x))
    table = report.summary({"A": "net", "B": "other"}, {"x": "x"})
    assert table.loc["A"].tolist() == ["2 ± 1.4", 2]
    assert table.loc["B"].tolist() == ["not run", 0]
    assert report.provenance(["net", "other"]) == "*2 runs, 0.00056 hours in all; code 0000000; cpu.*"
    assert report.provenance(["other"]) == "*Not run yet.*"


def test_a_metric_that_some_records_lack_is_a_dash_and_one_that_all_lack_is_an_error(results):
    records.save(record("net", profile="laptop", x=1.0))
    records.save(record("other", profile="laptop", x=1.0, theta=0.25))
    table = report.summary({"A": "net", "B": "other", "C": "third"}, {"θ": "theta"})
    assert table["θ"].tolist() == ["–", "0.25", "not run"]
    with pytest.raises(records.RecordError, match="'thetta'"):
        report.summary({"A": "net"}, {"θ": "thetta"})


def test_a_difference_is_paired_by_seed_and_has_a_standard_error(results):
    for seed, (ours, twin) in enumerate([(90.0, 92.0), (80.0, 83.0)]):
        records.save(record("net", seed, "laptop", test_accuracy=ours))
        records.save(record("twin", seed, "laptop", test_accuracy=twin))
    assert report.difference("net", "twin") == {"difference": "−2.50 ± 0.50", "seeds": "2", "verdict": "lower"}
    assert report.difference("twin", "net")["verdict"] == "higher"
    assert report.difference("net", "missing") == report.difference("missing", "twin")
    assert report.difference("net", "missing")["difference"] == "not run"


@pytest.mark.parametrize(("twin", "expected"), [([89.0, 81.0], "open"), ([89.0], "open")])
def test_a_difference_within_two_standard_errors_or_of_one_run_is_open(results, twin, expected):
    for experiment, values in (("net", [90.0, 80.5]), ("twin", twin)):
        for seed, accuracy in enumerate(values[: len(twin)]):
            records.save(record(experiment, seed, "laptop", test_accuracy=accuracy))
    assert report.difference("net", "twin")["verdict"] == expected
