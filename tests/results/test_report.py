"""Verdicts follow records by the rules, and pages and tables show what the records hold; on a made-up manifest."""

import os
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from atif_lib.results import manifest as manifests
from atif_lib.results import records, report, tables
from atif_lib.results.intervals import dunnett
from atif_lib.results.manifest import VERDICTS, Check, ManifestError, Quantity


def record(experiment="net", seed=0, profile="full", **result):
    return records.Record(
        experiment=experiment,
        profile=profile,
        seed=seed,
        config={},
        commit="0" * 40,
        dirty=False,
        date="2023-03-03T12:00:00+00:00",
        versions={},
        device="cpu",
        data_sha256=None,
        epochs=[],
        result=result,
        wall_s=1.0,
        peak_memory_mib=None,
    )


RUNS = [record(x=10.0), record("other", x=0.0)]


def part(paper=10.0, relation="=", tolerance=0.0, minus=None, one_record=False):
    quantity = Quantity("net", "x", "full", minus, one_record)
    return Check(text="text", paper=paper, unit="dB", relation=relation, tolerance=tolerance, ours=quantity)


def seeds(*values, experiment="net"):
    return [record(experiment, seed, x=value) for seed, value in enumerate(values)]


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
def test_relations_of_a_number_that_no_seed_changes(relation, paper, tolerance, value, holds):
    check = part(paper, relation, tolerance, one_record=True)
    assert check.holds(check.measure([record(x=value)])) is holds


# The interval of each of these is its mean ± 4.3027 / sqrt(3) of the standard deviation: ± 0.248 for 0.1, ± 2.48 for 1.
@pytest.mark.parametrize(
    ("relation", "paper", "tolerance", "values", "holds"),
    [
        (">", 0, 0, (1.0, 1.1, 0.9), True),
        (">", 0, 0, (-1.0, -1.1, -0.9), False),
        (">", 0, 0, (2.0, 3.0, 1.0), None),  # a mean of 2, beyond two standard errors of 0.58
        ("<", 0, 0, (-1.0, -1.1, -0.9), True),
        ("<", 0, 0, (0.2, 0.3, 0.1), None),
        ("=", 3, 0.3, (3.0, 3.1, 2.9), True),
        ("=", 3, 0.3, (3.1, 3.2, 3.0), None),  # the mean is within the tolerance, its interval is not
        ("=", 3, 0.3, (3.5, 3.6, 3.4), None),
        ("=", 3, 0.3, (3.6, 3.7, 3.5), False),
        ("=", 3, 0.3, (2.4, 2.5, 2.3), False),
        (">=", 10, 0.3, (10.0, 10.1, 9.9), True),
        (">=", 10, 0, (10.0, 10.1, 9.9), None),
        (">=", 10, 0, (99.0, 99.1, 98.9), True),
        (">=", 10, 0, (9.0, 9.1, 8.9), False),
        ("<=", 10, 0, (9.0, 9.1, 8.9), True),
        ("<=", 10, 0, (11.0, 11.1, 10.9), False),
        ("between", (1, 3), 0, (2.0, 2.1, 1.9), True),
        ("between", (1, 3), 0, (2.9, 3.0, 2.8), None),
        ("between", (1, 3), 0, (4.0, 4.1, 3.9), False),
    ],
)
def test_relations_of_a_mean_over_seeds(relation, paper, tolerance, values, holds):
    check = part(paper, relation, tolerance)
    assert check.holds(check.measure(seeds(*values))) is holds


@pytest.mark.parametrize("relation", ["=", ">=", "<=", "<", ">"])
@pytest.mark.parametrize("value", [-99.0, 10.0, 99.0])
def test_one_run_of_what_draws_at_random_decides_nothing(relation, value):
    check = part(10.0, relation)
    assert check.holds(check.measure([record(x=value)])) is None
    against_a_number_that_no_seed_changes = part(10.0, relation, minus=Quantity("other", "x", "full", one_record=True))
    ours = against_a_number_that_no_seed_changes.measure([record(x=value), record("other", x=0.0)])
    assert check.holds(ours) is None


def test_seeds_that_agree_in_every_digit_are_judged_as_a_number():
    assert part(10.0, ">").holds(part().measure(seeds(10.0, 10.0))) is False
    assert part(10.0).holds(part().measure(seeds(10.0, 10.0))) is True


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
    minus = Quantity("other", "x", "full")
    ours, theirs = (58.4, 59.9, 57.1), (57.2, 59.1, 56.6)
    runs = seeds(*ours) + seeds(*theirs, experiment="other")
    paired = part(minus=minus).measure(runs)
    assert (paired.mean, paired.n) == (pytest.approx(2.5 / 3), 3)
    assert paired.interval == pytest.approx(tuple(stats.ttest_rel(ours, theirs).confidence_interval(0.95)))
    assert part(minus=minus).measure([*runs, record(seed=3, x=99.0)]) == paired, "seeds that one lacks do not count"
    one = part(minus=minus).measure(runs[:4])
    assert (one.sd, one.n, one.run_ids, one.interval) == (None, 1, ("net-full-s0", "other-full-s0"), None)
    assert part(minus=minus).measure(runs[:3]) is None


def test_a_difference_of_two_experiments_that_share_no_seed_has_welch_s_interval():
    minus = Quantity("other", "x", "full")
    ours, theirs = (1.0, 3.0, 2.0), (11.0, 19.0)
    runs = seeds(*ours) + [record("other", seed, x=x) for seed, x in zip((7, 8), theirs, strict=True)]
    unpaired = part(minus=minus).measure(runs)
    assert (unpaired.mean, unpaired.n) == (-13.0, 2), "the smaller number of seeds"
    assert unpaired.sd == pytest.approx(33**0.5)
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    assert unpaired.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert part(minus=minus).measure(runs[:4]).interval is None


def test_a_number_that_no_seed_changes_is_subtracted_from_every_seed():
    exact = Quantity("other", "x", "full", one_record=True)
    runs = [*seeds(1.0, 2.0, 3.0), record("other", x=10.0)]
    ours = part(minus=exact).measure(runs)
    assert (ours.mean, ours.n, ours.run_ids[-1]) == (-8.0, 3, "other-full-s0")
    assert ours.interval == pytest.approx((-8 - 4.3027 / 3**0.5, -8 + 4.3027 / 3**0.5), abs=1e-4)
    theirs = Quantity("other", "x", "full", Quantity("net", "x", "full"), one_record=True).measure(runs)
    assert theirs.mean == 8.0
    assert theirs.interval == pytest.approx([-bound for bound in reversed(ours.interval)])
    both = part(minus=exact, one_record=True).measure([runs[0], runs[3]])
    assert (both.mean, both.n, both.interval) == (-9.0, 1, (-9.0, -9.0))


def test_a_difference_less_a_difference_is_paired_by_seed_too():
    """How far a and b lie apart in more epochs, less how far d and c do in fewer."""
    values = {"net": (80.0, 81.5, 80.5), "b": (82.0, 82.5, 82.6), "c": (73.0, 73.3, 72.0), "d": (70.0, 70.9, 70.1)}
    runs = [run for name, drawn in values.items() for run in seeds(*drawn, experiment=name)]
    minus = Quantity("b", "x", "full", Quantity("c", "x", "full", Quantity("d", "x", "full")))
    a, b, c, d = (np.array(drawn) for drawn in values.values())
    found = part(minus=minus).measure(runs)
    expected = stats.ttest_rel(a - b, d - c)
    assert found.mean == pytest.approx(((a - b) - (d - c)).mean())
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert sorted(found.run_ids) == sorted(run.run_id for run in runs)
    assert part(minus=minus).measure(runs[:-1]) == part(minus=minus).measure([r for r in runs if r.seed < 2])
    assert part(minus=minus).measure(runs[:-3]) is None


def test_a_number_in_what_is_subtracted_is_the_same_for_every_seed():
    a, b = (10.0, 11.0, 12.5), (4.0, 5.0, 8.0)
    runs = [*seeds(*a), *seeds(*b, experiment="b"), record("exact", x=1.0)]

    def minus(*parts):
        """The last is subtracted from the one before it, and so on."""
        found = None
        for part in reversed(parts):
            found = part if isinstance(part, float) else Quantity(part, "x", "full", found, part == "exact")
        return found

    def interval(values):
        return pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))

    differences = [x - y for x, y in zip(a, b, strict=True)]
    assert part(minus=minus("b", 5.0)).measure(runs).interval == interval([d + 5 for d in differences])
    assert part(minus=minus("b", "exact")).measure(runs).interval == interval([d + 1 for d in differences])
    sums = [x + y for x, y in zip(a, b, strict=True)]
    assert part(minus=minus("exact", "b")).measure(runs).interval == interval([s - 1 for s in sums])
    assert minus("exact", "exact", "b").measure(runs).interval == interval(b)
    one = [run for run in runs if run.experiment != "b" or not run.seed]
    assert minus("exact", "exact", "b").measure(one).interval is None, "one run of what draws at random"
    both = minus("exact", "exact", "exact").measure(runs)
    assert (both.mean, both.interval) == (1.0, (1.0, 1.0))


def test_in_a_family_the_interval_is_dunnett_s_over_the_seeds_that_all_have():
    runs = seeds(1.0, 2.0, 6.0, experiment="base") + seeds(2.0, 4.0, 6.0)
    runs += seeds(0.0, 3.0, 6.0, experiment="other") + seeds(9.0, experiment="just-begun")
    family = ("net", "other", "just-begun", "not-run")
    quantity = Quantity("net", "x", "full", Quantity("base", "x", "full"), family=family)
    ours = quantity.measure(runs)
    assert (ours.mean, ours.n) == (1.0, 3)
    assert ours.interval == dunnett([[2.0, 4.0, 6.0], [0.0, 3.0, 6.0]], [1.0, 2.0, 6.0])[0]
    narrow = Quantity("net", "x", "full", Quantity("base", "x", "full"), family=("net",)).measure(runs)
    assert narrow.interval == pytest.approx(
        Quantity("net", "x", "full", Quantity("base", "x", "full")).measure(runs).interval
    )
    more = [*runs, record("net", 3, x=50.0), record("base", 3, x=0.0)]
    assert quantity.measure(more) == ours, "the other one lacks seed 3"
    assert quantity.measure([r for r in runs if r.seed == 0]).interval is None
    apart = [r for r in more if (r.experiment, r.seed) not in (("net", 0), ("net", 1), ("other", 2))]
    assert quantity.measure(apart).interval is None, "no seed that all have"


ENTRY = """
command: run {experiment} --profile {profile}
one_record: [net, other]
families: {pair: [third]}
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
    for verdict in ("reproduced", "partly", "open", "not"):
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


def test_new_verdicts_change_nothing_else_in_the_file(path):
    """Comments, order, quotes, line breaks and line ends are those of whoever wrote them."""
    text = ENTRY.replace("verdict: not run", "verdict:   'not run'  # so far", 1)
    text = text.replace(
        "full, minus: {experiment: other}}", "full,  # on a line\n               minus: {experiment: other}}"
    )
    text = text.replace("    note: why\n", "    note: 'verdict: not run'\n").replace("\n", "\r\n") + "\r\n# the end"
    path.write_bytes(text.encode())
    assert report.update_verdicts(path, RUNS) == ["one", "two"]
    after = text.replace("'not run'  # so far", "reproduced  # so far").replace(
        "verdict: not run\r", "verdict: partly\r"
    )
    assert path.read_bytes().decode() == after


def test_a_manifest_is_rewritten_whole_or_not_at_all(path, monkeypatch):
    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        report.update_verdicts(path, RUNS)
    assert path.read_text() == ENTRY
    assert os.listdir(path.parent) == [path.name]


def test_one_missing_record_leaves_an_entry_not_run(path):
    assert [e.expected(RUNS[:1]) for e in manifests.load(path).entries] == ["reproduced", "not run"]


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ((True, True), "reproduced"),
        ((False, False), "not"),
        ((True, False), "partly"),
        ((None, None), "open"),
        ((True, None), "open"),
        ((False, None), "open"),
        ((True, False, None), "partly"),
    ],
)
def test_a_verdict_is_open_while_open_checks_could_change_it(path, held, verdict):
    values = {True: (1.0, 1.1, 0.9), False: (-1.0, -1.1, -0.9), None: (1.0, -1.0, 0.0)}
    runs = [record(f"net-{n}", seed, x=x) for n, answer in enumerate(held) for seed, x in enumerate(values[answer])]
    quantities = [Quantity(f"net-{n}", "x", "full") for n in range(len(held))]
    checks = tuple(Check(text="", paper=0.0, relation=">", ours=quantity) for quantity in quantities)
    entry = manifests.load(path).entries[1].model_copy(update={"parts": checks})
    assert entry.expected(runs) == verdict


def test_an_open_verdict_needs_a_note_and_shows_it(path):
    path.write_text(ENTRY.replace("one_record: [net, other]\n", ""))
    assert report.update_verdicts(path, RUNS) == ["one", "two"]
    assert [e.verdict for e in manifests.load(path).entries] == ["open", "open"]
    assert report.check(manifests.load(path), RUNS) == ["one: the verdict 'open' needs a note that says why"]
    page = report.report_markdown(manifests.load(path), RUNS, [])
    assert "| ? **open** · Two facts. *why* |" in page
    assert "| – first *(open)* | > 0 dB | 10 dB (n = 1, full) |" in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: one", "id: two", "the manifest: id=two; allowed: each id once"),
        ("id: one", "id: The One", "id='The One'; allowed: lower case words joined by '-'"),
        ("kind: claim", "kind: guess", "entry 'one': kind='guess'; allowed: 'figure', 'table' or 'claim'"),
        ("04_uniform_threshold", "07_dreams", "chapter='07_dreams'; allowed: '01_if_neuron', '02"),
        (
            "verdict: not run",
            "verdict: perhaps",
            "verdict='perhaps'; allowed: 'reproduced', 'partly', 'open', 'not' or 'not run'",
        ),
        ("profile: full}", "profile: full, family: none}", "ours: family='none'; allowed: 'pair'"),
        ("minus: {experiment: other}", "minus: 3, family: pair", "minus=3.0; allowed: the experiment that the family"),
        ("minus: {experiment: other}", "minus: {experiment: other, minus: 3}", "minus=3; allowed: a mapping"),
        (
            "minus: {experiment: other}",
            "minus: {experiment: other}, family: pair",
            "entry 'two', check 2: ours: experiment='net'; allowed: 'third'",
        ),
        ("paper: 10", "paper: ten", "paper='ten'; allowed: a number or a list"),
        ("tolerance: 0.5", "tolerance: -1", "tolerance=-1.0; allowed: a number of at least 0"),
        ("tolerance: 0.5", 'relation: ">"\n    tolerance: 0.5', "0 on < and >"),
        ("unit: dB", "colour: red", "unknown key colour; allowed: text, paper, unit"),
        ("profile: full", "profile: smoke", "profile='smoke'; allowed: 'laptop' or 'full'"),
        ("metric: x, ", "", "missing metric"),
        ("    where: Section 3.3\n", "", "missing where"),
        ("checks:", "tolerance: 1\n    checks:", "tolerance beside checks; allowed: in each of the checks"),
        ("entries:", "claims:", "unknown key claims"),
        ("entries:\n", "entries:\n  - just words\n", "entries.0='just words'; allowed: a mapping"),
        ("verdict: not run", "verdict: [", "manifest.yml, line 19: "),
        ("unit: dB", "unit: dB\n    unit: points", 'line 14: found duplicate key "unit"'),
        ("kind: claim", "kind: claim\n    row: a", "entry 'one': row='a'; allowed: only of kind table"),
        (
            "kind: claim",
            "kind: table\n    column: b",
            "entry 'one': row=None; allowed: a text in an entry of kind table",
        ),
        ("kind: claim", "kind: table\n    row: a", "entry 'one': column=None; allowed: a text in an entry of kind"),
        (
            "profile: full}",
            "profile: full, one_record: true}",
            "entry 'one': ours: unknown key one_record; allowed: exp",
        ),
    ],
)
def test_a_wrong_manifest_is_named(path, old, new, message):
    assert old in ENTRY
    path.write_text(ENTRY.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        manifests.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


ONE = "entry 'one'"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: one", "id: 1", "entry 1: id=1; allowed: a text"),
        ("where: Section 3.3", "where: 2023-03-03", f"{ONE}: where=datetime.date(2023, 3, 3); allowed: a text"),
        ('text: "A gain', 'text: [1]  # "', f"{ONE}: text=[1]; allowed: a text"),
        ("kind: claim", "kind: [claim]", f"{ONE}: kind=['claim']; allowed: 'figure'"),
        ("headline: true", "headline: 1", f"{ONE}: headline=1; allowed: true or false"),
        ("unit: dB", "unit: 1", f"{ONE}: unit=1; allowed: a text"),
        ("paper: 10", "paper: true", f"{ONE}: paper=True; allowed: a number or a list"),
        ("paper: 10", "paper: .nan", f"{ONE}: paper=nan; allowed: a finite number or a list"),
        ("paper: 10", "relation: between\n    paper: 10", f"{ONE}: paper=10.0; allowed: [low, high]"),
        ("paper: 10", "relation: between\n    paper: [2, 1]", "paper=(2.0, 1.0); allowed: [low, high]"),
        ("tolerance: 0.5", "tolerance: .inf", f"{ONE}: tolerance=inf; allowed: a finite number"),
        ("ours: {experiment: net, metric: x, profile: full}", "ours: net", f"{ONE}: ours='net'; allowed: a mapping"),
        ("experiment: net", "experiment: [net]", f"{ONE}: ours: experiment=['net']; allowed: a text"),
        (
            "profile: full}",
            "profile: full, minus: [1]}",
            f"{ONE}: ours: minus=[1]; allowed: a mapping or a number",
        ),
        ("profile: full}", "profile: full, family: [pair]}", "ours: family=['pair']; allowed: a text"),
        ("verdict: not run", "verdict: false", f"{ONE}: verdict=False; allowed: 'reproduced'"),
        ('note: ""', "note: 1", f"{ONE}: note=1; allowed: a text"),
        ("checks:", "checks: all\n    command:", "entry 'two': checks='all'; allowed: a list"),
        ("checks:", "checks:\n      - only text", "entry 'two': checks.0='only text'; allowed: a mapping"),
        ("- {text: first", "- {text: 1", "entry 'two', check 1: text=1; allowed: a text"),
        (
            "{experiment} --profile",
            "{experiments} --profile",
            "command='run {experiments} --profile {profile}'; allowed: a text with {experiment} and {profile}",
        ),
        ("{experiment} --profile", "{experiment --profile", "the manifest: command='run {experiment --profile"),
        ("one_record: [net, other]", "one_record: net", "the manifest: one_record='net'; allowed: a list"),
        ("{pair: [third]}", "[third]", "the manifest: families=['third']; allowed: a mapping"),
        ("{pair: [third]}", "{pair: third}", "the manifest: families: pair='third'; allowed: a list"),
        (
            "one_record: [net, other]",
            "cited: [words]",
            "the manifest: cited.0='words'; allowed: a mapping",
        ),
        ("one_record: [net, other]", "cited: [{text: x}]", "cited, number 1: missing where, unit, source"),
        ("one_record: [net, other]", "small: 3", "the manifest: small=3; allowed: a list"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_entry_and_key(path, old, new, message):
    assert old in ENTRY
    path.write_text(ENTRY.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        manifests.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_without_a_value_counts_as_left_out(path):
    path.write_text(ENTRY.replace("unit: dB", "unit:\n    command:", 1).replace("headline: true", "headline:"))
    one = manifests.load(path).entries[0]
    assert (one.checks[0].unit, one.headline, one.commands) == ("", False, ("run net --profile full",))


def test_seeds_of_different_configurations_are_named_with_what_differs(path):
    """A mean over them would be of no network. What older records leave out of a configuration is no difference."""

    def run(seed, profile="full", **config):
        return record(seed=seed, profile=profile, x=10.0).model_copy(update={"config": config})

    report.update_verdicts(path, [run(0)])
    listed = manifests.load(path)
    recipe = {"lr": 0.1, "augment": ["crop", "cutout"]}
    old = run(0, recipe=recipe, summary="as it was", limit=None)
    alike = run(1, recipe=recipe | {"scales": [1.0], "save_memory": False}, limit=None, start=None, data_start=False)
    assert report.check(listed, [old, alike]) == []
    new = [run(n, recipe=recipe | {"augment": ["crop"], "scales": [0.5, 1.0]}, limit=None) for n in (2, 3)]
    assert report.check(listed, [old, alike, *new]) == [
        "net, profile full: seeds 0, 1 and seeds 2, 3 differ in recipe.augment, recipe.scales; "
        "allowed: one configuration for all seeds"
    ]
    (found,) = report.check(listed, [old, run(1, recipe=recipe, limit=None, start="other"), run(2, recipe=recipe)])
    assert found.startswith("net, profile full: seed 0 and seed 1 and seed 2 differ in limit, start; ")
    assert report.check(listed, [old, run(0, "laptop"), run(1, "smoke", a=1), run(2, "smoke", a=2)]) == []
    few, low = run(1).model_copy(update={"data_sha256": "0" * 64}), record(seed=2, x=10.0, precision="bf16-mixed")
    for other, what in ((few, "data_sha256"), (low.model_copy(update={"config": {}}), "precision")):
        (found,) = report.check(listed, [run(0), other])
        assert f" differ in {what}; allowed: one configuration" in found


def test_a_training_in_stages_lists_the_commands_of_all_its_stages(path):
    """The command of a later stage alone fails where the weights of the one before are not there."""
    path.write_text(ENTRY.replace("experiment: net,", "experiment: net-atif-u-staged,", 1))
    one = manifests.load(path).entries[0]
    names = [f"net-{stage}-staged" for stage in ("relu", "quantized", "atif-u")]
    assert one.commands == tuple(f"run {name} --profile full" for name in names)
    runs = [record(name, seed, x=1.0) for name in names[1:] for seed in (0, 1)]
    page = report.report_markdown(manifests.load(path), runs, [])
    lines = [f"  * `run {name} --profile full --seeds 0 1`" for name in names]
    assert "\n".join(lines) in page


def test_a_manifest_that_is_no_text_or_no_mapping_is_named(path):
    for content in (b"\xff\xfe", b"", b"- a list"):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=re.escape(str(path))):
            manifests.load(path)


def test_the_page_shows_what_was_measured_and_by_which_runs(path):
    report.update_verdicts(path, RUNS)
    page = report.report_markdown(manifests.load(path), RUNS, ["04_uniform_threshold"])
    assert "| ✓ **reproduced** · A gain \\| of 10 dB at $V_{th}$. {doc}" in page
    assert "| 10 dB | 10 dB (one record, full) |" in page
    assert "<04_uniform_threshold>`" in page
    assert "09_ablation (to come)" in page
    assert "<09_ablation>" not in page
    assert "| – second *(fails)* | < 0 dB | 10 dB (one record, full) |" in page
    assert "* runs `net-full-s0`" in page
    assert "| `other-full-s0` | `000000000` | 2023-03-03 |" in page
    assert "| The paper's claims | 1 | 1 | 0 | 0 | 0 |" in page
    assert page.count(":::{") * 2 == len(re.findall(r"^:::", page, re.MULTILINE))


def test_the_page_opens_with_how_the_paper_fares_and_folds_what_is_not_run(path):
    page = report.report_markdown(manifests.load(path), [], [])
    opening = page.index("**In short.**")
    assert opening < page.index("**How a verdict is reached.**")
    assert page.count(":::{dropdown} Not run yet: 1\n| What the paper says") == 2
    assert all(f"{sign} {verdict}" in page for sign, verdict in zip("✓◐?✗–", VERDICTS, strict=True))
    everything = manifests.load()
    opening = report.report_markdown(everything, None, []).split("**In short.**")[1].split("\n\n")[0]
    counted = [int(n) for n in re.findall(r"(\d+) (?:reproduced|partly|open|not run|not)\b", opening)]
    assert sum(counted) == len(everything.entries) + len(everything.of_kind("table"))


def test_the_opening_says_each_accuracy_of_full_size_once():
    everything = manifests.load()
    found, *_ = records.records_of("cifar10-resnet18-atif-u-staged", "full", records.RESULTS)  # in Tables 1 and 3
    runs = [found.model_copy(update={"seed": n, "result": found.result | {"test_accuracy": 90.0 + n}}) for n in (0, 1)]
    opening = report.report_markdown(everything, runs, []).split(":::")[0]
    assert opening.count("Table 1: CIFAR-10, ResNet-18, ATIF-u, T = 4: 90.50 (93.84).") == 1
    assert "Table 3" not in opening
    assert "full size in percent" not in report.report_markdown(everything, [], []).split(":::")[0]


def test_seeds_stand_in_value_and_command(path):
    runs = [record(seed=s, x=x) for s, x in enumerate((10.0, 10.1, 10.2))]
    page = report.report_markdown(manifests.load(path), runs, [])
    assert "10.10 ± 0.10 dB [9.85, 10.35] (n = 3, full)" in page
    assert "`run net --profile full --seeds 0 1 2`" in page


def test_a_small_number_is_not_rounded_to_nothing_and_none_is_made_up(path):
    assert "0.0004 dB (one record, full)" in report.report_markdown(manifests.load(path), [record(x=0.0004)], [])
    runs = [record(x=0.0004), record(seed=1, x=0.0006)]
    assert "0.0005 ± 0.0001 dB [−0.0008, 0.002] (n = 2, full)" in report.report_markdown(manifests.load(path), runs, [])
    page = report.report_markdown(manifests.load(path), [], [])
    assert "No run record is committed yet." in page
    assert "(n =" not in page
    assert "(one record" not in page


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
    assert "| Section 3.3 | A gain \\| of 10 dB at V_th. | 10 dB | 10 dB (one record, full) | not run |" in text
    assert report.stale_readme(readme, listed, [record(x=10.2)])
    readme.write_text(text.replace("10 dB (one", "11 dB (one"))
    assert "11 dB" in "".join(report.stale_readme(readme, listed, RUNS))
    first, second = (line for line in text.splitlines() if line.startswith("| Section"))
    wrong = f"{readme}: the claims table is not what the records give:"
    readme.write_text(text.replace(f"{first}\n", f"{first}\n{first}\n"))
    assert report.stale_readme(readme, listed, RUNS) == [f"{wrong} remove the line {first}"]
    readme.write_text(text.replace(f"{first}\n{second}", f"{second}\n{first}"))
    moved = report.stale_readme(readme, listed, RUNS)
    assert sorted(moved) in [
        [f"{wrong} {todo} the line {row}" for todo in ("add", "remove")] for row in (first, second)
    ]
    readme.write_text("no table")
    assert "expected one" in report.stale_readme(readme, listed, RUNS)[0]
    with pytest.raises(ValueError, match="claims:begin"):
        report.update_readme(readme, listed, RUNS)


def test_the_paper_small_networks_and_what_lies_beyond_are_counted_apart(path):
    text = report.report_text(manifests.load(path), RUNS)
    assert text.splitlines()[-1] == "2 figures, table cells and claims of the paper: 2 not run"
    assert "one: A gain" in text
    one = ENTRY[ENTRY.index("  - id: one") : ENTRY.index("  - id: two")]
    for part, name in (("small", "three"), ("beyond", "four")):
        path.write_text(path.read_text() + f"{part}:\n{one.replace('id: one', f'id: {name}')}")
    assert report.update_verdicts(path, [record(x=10.2)]) == ["one", "three", "four"]
    counts = [
        "2 figures, table cells and claims of the paper: 1 reproduced, 1 not run",
        "1 of its claims on our small networks, in direction or shape only: 1 reproduced",
        "1 results beyond the paper: 1 reproduced",
    ]
    listed, runs = manifests.load(path), [record(x=10.2)]
    assert report.report_text(listed, runs).splitlines()[-3:] == counts
    assert report.readme_table(listed, runs).splitlines()[-3:] == [f"* {line}." for line in counts]
    page = report.report_markdown(listed, runs, [])
    assert "| The paper's claims | 1 | 0 | 0 | 0 | 1 |" in page
    assert "| On our small networks | 1 | 0 | 0 | 0 | 0 |" in page
    assert "| Beyond the paper | 1 | 0 | 0 | 0 | 0 |" in page
    assert page.index("## Claims") < page.index("## On our small networks") < page.index("## Beyond the paper")


def test_a_readme_row_of_several_checks_counts_those_that_hold(path):
    row = next(line for line in report.readme_table(manifests.load(path), RUNS).splitlines() if "Two facts" in line)
    assert "| > 0 dB | 10 dB (one record, full); 1 of 2 checks hold |" in row
    row = next(line for line in report.readme_table(manifests.load(path), []).splitlines() if "Two facts" in line)
    assert "| 2 checks | – | not run |" in row
    path.write_text(
        path.read_text().replace("kind: claim\n    where: Section 4.4", "kind: figure\n    where: Figure 9")
    )
    row = next(line for line in report.readme_table(manifests.load(path), RUNS).splitlines() if "Two facts" in line)
    assert "| 2 checks | 1 of 2 checks hold |" in row


def test_a_summary_leaves_out_what_a_network_does_not_have():
    runs = [record(seed=0, x=None), record(seed=1, x=0.2), record("other", x=None), record("named", x="npm")]
    rows = {"net": "net", "other": "other"}
    assert tables.summary(rows, {"x": "x"}, "full", runs)["x"].tolist() == ["0.2 (n = 1)", "–"]
    with pytest.raises(records.RecordError, match="metric 'x' is 'npm', expected a number"):
        tables.summary({"named": "named"}, {"x": "x"}, "full", runs)


def test_a_summary_has_mean_and_spread_and_its_provenance_names_code_and_device(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path))
    for seed, x in enumerate((1.0, 3.0)):
        records.save(record(seed=seed, profile="laptop", x=x))
    table = tables.summary({"A": "net", "B": "other"}, {"x": "x"})
    assert table.loc["A"].tolist() == ["2 ± 1.4", 2]
    assert table.loc["B"].tolist() == ["not run", 0]
    records.save(record(profile="smoke", x=1.0))
    assert tables.provenance(["net", "other"]) == "*2 runs, 0.00056 hours in all; code 0000000; cpu.*"
    assert tables.provenance(["net"], runs=[record(profile="full", x=1.0)]).startswith("*1 run, "), "whatever its size"
    assert tables.provenance(["other"]) == "*Not run yet.*"


def test_a_metric_that_some_records_lack_is_a_dash_and_one_that_all_lack_is_an_error(results):
    records.save(record("net", profile="laptop", x=1.0))
    records.save(record("other", profile="laptop", x=1.0, theta=0.25))
    table = tables.summary({"A": "net", "B": "other", "C": "third"}, {"θ": "theta"})
    assert table["θ"].tolist() == ["–", "0.25", "not run"]
    for seed, values in ((1, {"theta": 0.35}), (2, {})):
        records.save(record("other", seed, profile="laptop", x=1.0, **values))
    row = tables.summary({"B": "other"}, {"θ": "theta"}).loc["B"]
    assert row.tolist() == ["0.3 ± 0.071 (n = 2)", 3], "a mean over fewer seeds than the row has says so"
    with pytest.raises(records.RecordError, match="'thetta'"):
        tables.summary({"A": "net"}, {"θ": "thetta"})


def save_accuracies(**experiments):
    for experiment, values in experiments.items():
        for seed, accuracy in enumerate(values):
            records.save(record(experiment, seed, "laptop", test_accuracy=accuracy))


def test_a_difference_is_paired_by_seed_and_has_an_interval(results):
    save_accuracies(net=[90.0, 80.0, 70.0], twin=[92.0, 83.0, 72.5])
    # The differences -2, -3 and -2.5 have a standard deviation of 0.5: ± 4.3027 * 0.5 / sqrt(3) = 1.24.
    assert tables.difference("net", "twin") == {"difference": "−2.50 [−3.74, −1.26]", "seeds": "3", "verdict": "lower"}
    assert tables.difference("twin", "net") == {"difference": "+2.50 [1.26, 3.74]", "seeds": "3", "verdict": "higher"}
    assert tables.compare("net", "twin").interval == pytest.approx((-3.742, -1.258), abs=1e-3)
    assert tables.difference("net", "missing") == tables.difference("missing", "twin")
    assert tables.difference("net", "missing")["difference"] == "not run"
    assert tables.compare("net", "missing") is None


def test_a_difference_beyond_two_standard_errors_but_within_student_s_interval_is_open(results):
    save_accuracies(net=[90.0, 80.0], twin=[92.0, 83.0])
    assert tables.difference("net", "twin") == {"difference": "−2.50 [−8.85, 3.85]", "seeds": "2", "verdict": "open"}


def test_a_difference_of_one_run_is_open_and_has_no_interval(results):
    save_accuracies(net=[90.0], twin=[80.0])
    assert tables.difference("net", "twin") == {"difference": "+10.00", "seeds": "1", "verdict": "open"}


def test_a_small_difference_has_the_digits_that_say_something(results):
    save_accuracies(net=[0.1105, 0.1210, 0.1301], twin=[0.11, 0.12, 0.13])
    assert tables.difference("net", "twin")["difference"] == "+0.0005 [−0.0006, 0.0017]"
    save_accuracies(first=[0.1125], second=[0.11])
    assert tables.difference("first", "second")["difference"] == "+0.0025"


def test_many_changes_against_one_base_have_dunnett_s_interval(results):
    save_accuracies(base=[1.0, 2.0, 6.0], net=[2.0, 4.0, 6.0], other=[0.0, 3.0, 6.0])
    low, high = dunnett([[2.0, 4.0, 6.0], [0.0, 3.0, 6.0]], [1.0, 2.0, 6.0])[0]
    found = tables.difference("net", "base", family=["net", "other"])
    assert found["difference"] == f"+1.00 [{low:.2f}, {high:.2f}]".replace("-", "−")
    with pytest.raises(ValueError, match=r"^experiment='net'; allowed: 'other', 'third'"):
        tables.compare("net", "base", family=["other", "third"])


def test_what_has_not_run_is_said_in_one_line():
    rows = pd.DataFrame(
        {"x": ["1", "not run"], "seeds": [3, 0]}, index=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])
    )
    rest, said = tables.ran(rows)
    assert list(rest.index) == [("a", "b")]
    assert said == "*Not run yet: a, c.*"
    columns = pd.DataFrame({"x": ["1", "2"], "x, ours": ["not run", ""], "θ, ours": ["not run", "3"]})
    rest, said = tables.ran(columns)
    assert list(rest) == ["x", "θ, ours"]
    assert said == "*Not run yet: x, ours.*"
    assert tables.ran(rest[["x"]])[1] == ""


def test_a_browser_can_break_a_value_around_its_interval_and_nowhere_else(monkeypatch):
    shown = []
    monkeypatch.setattr(pytest.importorskip("IPython.display"), "display", shown.append)
    cells = {"87.02 ± 0.69 [80.79, 93.25]: open": 3, "12 + 3 + 1": 1, "EPYC, 1 thread; EPYC, 2 threads": 4}
    tables.show_ran(pd.DataFrame({"x": [*cells, 5], "seeds": 3}))
    *texts, number = shown[0]["x"]
    assert number == 5
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts] == [*cells]
    assert [len(text.split(" ")) for text in texts] == [*cells.values()]


def test_a_table_says_how_its_networks_were_trained(tmp_path):
    """All stages count: their epochs, their hours; a device is named once."""
    cell = {
        "id": "cell",
        "kind": "table",
        "where": "Table 3",
        "text": "ATIF-u: test accuracy.",
        "row": "ATIF-u, V_th learned, T = 4",
        "column": "test accuracy",
        "chapter": "09_ablation",
        "paper": 90,
        "unit": "%",
        "tolerance": 0.5,
        "ours": {"experiment": "net-atif-u-staged", "metric": "x", "profile": "full"},
        "verdict": "not run",
        "note": "",
    }
    (tmp_path / "manifest.yml").write_text(yaml.safe_dump({"command": "train", "entries": [cell]}), encoding="utf-8")
    manifest = manifests.load(tmp_path / "manifest.yml")

    def stage(name, epochs, start, seed):
        config = {"recipe": {"epochs": epochs, "precision": "bf16-mixed"}, "start": start and f"net-{start}-staged"}
        return record(f"net-{name}-staged", seed, x=1.0).model_copy(update={"config": config, "wall_s": 1800.0})

    runs = [
        stage(*row, seed)
        for seed in (0, 1)
        for row in (("relu", 20, None), ("quantized", 6, "relu"), ("atif-u", 2, "quantized"))
    ]
    row = ("ATIF-u", "V_th learned", "T = 4")
    assert tables.training_table(3, manifest, runs).loc[row].to_dict() == {
        "protocol": "in stages",
        "epochs": "20 + 6 + 2",
        "hours a seed": "1.5",
        "device": "cpu",
        "seeds": "2",
    }
    printed = tables.paper_table(3, manifest, runs).loc[row].to_dict()
    assert printed == {
        "experiment": "net-atif-u-staged",
        "test accuracy, %": "90",
        "test accuracy, %, ours": "1.00 ± 0.00 [1.00, 1.00]: not",
    }
    assert tables.paper_table(3, manifest, []).loc[row, "test accuracy, %, ours"] == "not run"
    runs[-1] = runs[-1].model_copy(update={"result": {"x": 1.0, "precision": "32-true"}})
    assert tables.training_table(3, manifest, runs).loc[row, "device"] == "cpu; cpu (float32)"
    assert tables.training_table(3, manifest, []).loc[row, "epochs"] == "not run"
    runs[2] = runs[2].model_copy(update={"result": {"x": 1.0, "start_sha256": "0" * 64}})
    anew = runs[1].model_copy(update={"result": {"weights_sha256": "1" * 64}, "device": "another"})
    trained = tables.training_table(3, manifest, [runs[0], anew, runs[2]]).loc[row]
    assert tuple(trained[["epochs", "hours a seed", "device"]]) == ("not known + 2", "at least 0.5", "cpu")
    kept = anew.model_copy(update={"result": {"weights_sha256": "0" * 64}})
    trained = tables.training_table(3, manifest, [runs[0], kept, runs[2]]).loc[row]
    assert tuple(trained[["epochs", "hours a seed", "device"]]) == ("20 + 6 + 2", "1.5", "another; cpu")
    trained = tables.training_table(3, manifest, [kept, runs[2]]).loc[row]
    assert tuple(trained[["epochs", "hours a seed"]]) == ("not known + 6 + 2", "at least 1")
    with pytest.raises(ValueError, match="the paper has Tables 1, 2 and 3"):
        tables.training_table(4, manifest, [])


def test_what_the_paper_s_tables_print_for_an_experiment():
    accuracy = tables.printed()
    assert accuracy["cifar10-resnet18-if-staged"] == 89.68
    assert tables.printed("theta")["cifar10-resnet18-if-staged"] == 0.17
    assert accuracy["gsc-resnet18-relu-staged"] == 94.46
    assert accuracy.get("gsc13-resnet18-relu-staged") is None


def test_the_gap_to_relu_stands_beside_the_paper_s(results):
    """The paper's words are 35, ours 13: another experiment stands for its row."""

    def run(activation, first, last):
        made = record(f"gsc13-resnet18-{activation}-staged", test_accuracy=last, theta=0.1)
        return made.model_copy(update={"epochs": [{"epoch": 0, "test_accuracy": first}]})

    runs = [run("relu", 50.0, 96.0), run("atif-u", 60.0, 95.5), run("if", 40.0, 93.0)]
    table = tables.gap_table({"words": ("gsc13-resnet18", "gsc-resnet18")}, runs).loc["words"]
    assert list(table.loc["ATIF-u"]) == ["60", "95.5", "0.1", "−0.50", "−0.15", 1]
    assert list(table.loc["IF, V_th = 1"]) == ["40", "93", "0.1", "−3.00", "", 1]
    assert list(table.loc["ATIF-nu"]) == ["not run"] * 4 + ["−0.17", 0]


def test_accuracies_over_time_are_a_row_a_network():
    table = tables.time_table({"ReLU": [73.06], "ATIF-u": [14.14, 59.6, 68.3]})
    assert list(table.columns) == ["T = 1", "T = 2", "T = 3"]
    assert [list(row) for row in table.values] == [["73.1", "", ""], ["14.1", "59.6", "68.3"]]


def test_networks_that_are_equal_are_not_one_above_the_other(results):
    save_accuracies(net=[10.0] * 3, twin=[10.0] * 3)
    found = tables.difference("net", "twin")
    assert (found["difference"], found["verdict"]) == ("+0.00 [0.00, 0.00]", "open")
