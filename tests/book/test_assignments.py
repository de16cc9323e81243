"""The assignments: solutions pass, stubs fail in their own tests, and typical mistakes are told what they are."""

import re
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]

from ci import assignments  # noqa: E402
from ci.make_colab import bootstrap  # noqa: E402
from ci.project import Project, Repository  # noqa: E402

PROJECT = Project(ROOT)
PUBLISHED = Repository("https://github.com/o/r", "main")
UNPUBLISHED = Repository("https://github.com/your_name/r", "main")
SOURCES = PROJECT.assignments()
TASKS = [
    (path, cell.metadata.nbgrader.grade_id)
    for path in SOURCES
    for cell in assignments.read_assignment(path).cells
    if cell.cell_type == "code" and cell.metadata.nbgrader.solution
]

# Of each task some mistakes: the line of the solution, what stands there instead, and a word of the message that must
# then appear. The tests that a student sees must find them; the hidden ones are left out.
MISTAKES = {
    "spike_train": [
        ("v = h - threshold * z", "v = h * (1 - z)", "the reset is soft"),
        ("h >= threshold", "h > threshold", "Θ(0) = 1"),
        ("v = h - threshold * z", "v = h", "membrane is reset"),
        ("v = h - threshold * z", "v = h - z", "0.5 here"),
        ("int(h >= threshold)", "int(v >= threshold)", "before the comparison"),
        ("int(h >= threshold)", "max(0, int(h // threshold))", "at most one spike"),
        ("int(h >= threshold)", "int(abs(h) >= threshold)", "negative current"),
        ("range(timesteps)", "range(timesteps - 1)", "each of the T timesteps"),
        ("return spikes", "return sum(spikes)", "not their number"),
        ("spikes.append(z)", "spikes.append(h)", "not the membrane"),
    ],
    "decode": [
        ("threshold * spikes.mean(0)", "spikes.mean(0)", "multiplied by V_th"),
        ("threshold * spikes.mean(0)", "spikes.mean(0) / threshold", "multiplied by V_th"),
        ("spikes.mean(0)", "spikes.sum(0)", "divided by T"),
        ("spikes.mean(0)", "spikes.mean(1)", "dimension 0"),
        ("spikes.mean(0)", "spikes.mean()", "dimension 0"),
    ],
    "spike_count": [
        (".floor()", "", "the floor is missing"),
        (".floor()", ".round()", "rounds down"),
        (".floor()", ".ceil()", "rounds down"),
        (".clamp(0, timesteps)", ".clamp(max=timesteps)", "lower clip"),
        (".clamp(0, timesteps)", ".clamp(min=0)", "upper clip"),
        (".clamp(0, timesteps)", "", "lower clip"),
        (".clamp(0, timesteps)", ".clamp(0, timesteps - 1)", "T + 1 = 9"),
        (".clamp(0, timesteps)", ".clamp(1, timesteps)", "no spike"),
        (
            "(timesteps * current / threshold).floor().clamp(0, timesteps)",
            "(8 * current / threshold).floor().clamp(0, 8)",
            "4 here",
        ),
        ("(timesteps * current / threshold)", "(timesteps * current / threshold).flatten()", "here [2, 3]"),
        ("timesteps * current", "current", "first step"),
        ("current / threshold", "current", "half the threshold"),
    ],
    "sqnr_db": [
        ("10 *", "20 *", "6.02"),
        ("torch.log10", "torch.log", "6.02"),
        ("10 *", "-10 *", "above the fraction bar"),
        ("x.square().mean() / (x - x_hat).square().mean()", "x.abs().mean() / (x - x_hat).abs().mean()", "squared"),
        ("(x - x_hat).square().mean()", "(x - x_hat).var()", "6.02"),
        ("x.square().mean() / (x - x_hat).square().mean()", "(x / (x - x_hat)).square().mean()", "ratio of two means"),
    ],
    "split_error": [
        ("torch.where(x > threshold, error, 0).mean()", "error[x > threshold].mean()", "add up"),
        ("x > threshold", "x > threshold / 4", "add up"),
        ("error = (x - x_hat).square()", "error = (x - x_hat).abs()", "add up"),
        (
            "x <= threshold, error, 0).mean(), torch.where(x > ",
            "x > threshold, error, 0).mean(), torch.where(x <= ",
            "comes first",
        ),
        ("x <= threshold", "x <= 2 * threshold", "add up"),
        (
            "x <= threshold, error, 0).mean(), torch.where(x > threshold",
            "x <= 1, error, 0).mean(), torch.where(x > 1",
            "V_th = 0.5",
        ),
    ],
    "best_threshold": [
        ("threshold / timesteps * staircase", "1 / timesteps * staircase", "multiplied by V_th"),
        ("min(candidates, key=noise)", "max(candidates, key=noise)", "neither the first nor the last"),
        ("min(candidates, key=noise)", "candidates.index(min(candidates, key=noise))", "not its place"),
        ("timesteps, v0)", "timesteps)", "half-full"),
        ("staircase(x, threshold, timesteps, v0)", "staircase(x, threshold, 4, v0)", "T = 8"),
        ("threshold / timesteps * staircase", "threshold * staircase", "divided by T"),
    ],
    "surrogate_derivative": [
        ("return slope * s * (1 - s)", "return s * (1 - s)", "chain rule"),
        ("return slope * s * (1 - s)", "return s", "the sigmoid itself"),
        ("return slope * s * (1 - s)", "return -slope * s * (1 - s)", "nowhere negative"),
        ("sigmoid(slope * q)", "sigmoid(q)", "sigmoid of α q"),
        ("return slope * s * (1 - s)", "return 4 * s * (1 - s)", "area"),
        ("return slope * s * (1 - s)", "return (q == 0).to(q)", "α/4"),
    ],
    "threshold_gradient": [
        ("return -(", "return (", "the sign of ∂q/∂V_th is negative"),
        (".sum()", ".mean()", "a sum, no mean"),
        ("upstream * slope", "slope", "∂L/∂z"),
        ("upstream * slope", "upstream", "add up"),
        ("slope * s * (1 - s)", "s", "derivative of the sigmoid"),
        ("membrane - threshold", "membrane", "the distance"),
        ("upstream * slope", "upstream.abs() * slope", "with its sign"),
    ],
    "dq_dthreshold": [
        ("-1 if detach_reset else -1 - resets", "1 if detach_reset else 1 + resets", "with its sign"),
        ("-1 if detach_reset else -1 - resets", "-1", "twice"),
        ("-1 if detach_reset else -1 - resets", "-1 - resets", "Eq. 11 holds"),
        ("-1 if detach_reset else -1 - resets", "-1 if detach_reset else -1 - resets - z", "from t + 1"),
        ("-1 if detach_reset else -1 - resets", "-1 if detach_reset else -1 + resets", "twice"),
        ("-1 if detach_reset else -1 - resets", "-1 if detach_reset else -resets", "from t + 1"),
        ("resets += z", "resets = z", "stays in the membrane"),
    ],
    "mean_square_error": [
        ("current.relu()", "current", "ReLU(i), not i"),
        ("neuron.decode(spikes)", "spikes.mean(0)", "rate"),
        ("functional.reset_net(neuron)", "pass", "reset_net"),
        (".square().mean()", ".square().mean().sqrt()", "averaged"),
        (".square().mean()", ".square().sum()", "averaged"),
        ("neuron(current.expand", "neuron((current / neuron.timesteps).expand", "every timestep"),
        ("neuron.decode(spikes)", "neuron.decode(spikes).detach()", "gradient"),
    ],
    "learn_threshold": [
        ("optimizer.zero_grad()", "pass", "zero_grad"),
        ("loss.backward()", "(-loss).backward()", "do not climb"),
        ("optimizer.step()", "pass", "has not moved"),
        ("torch.randn(batch_size)", "torch.randn(batch_size, generator=torch.Generator().manual_seed(0))", "by heart"),
        ("sigma * torch.randn", "torch.randn", "standard deviation"),
        ("sigma * torch.randn", "sigma**2 * torch.randn", "standard deviation"),
        ("sigma * torch.randn(batch_size)", "sigma * torch.randn(batch_size).abs()", "standard deviation"),
        ("lr=lr", "lr=10 * lr", "learning rate"),
        ("return history", "return history[-1:]", "after each update"),
    ],
    "boundary_term": [
        ("total += ", "total -= ", "silences"),
        ("density * k / timesteps * step**2", "density * step**2", "add up"),
        ("density * k / timesteps * step**2", "density * k / timesteps * (k * step) ** 2", "add up"),
        (" / math.sqrt(2 * math.pi)", "", "add up"),
        ("range(1, timesteps + 1)", "range(timesteps)", "k runs from 1"),
        ("((k * step) ** 2) / 2", "((k * step) ** 2)", "add up"),
    ],
    "thresholds_for": [
        ("thresholds[0] = p[0]", "pass", "without a factor T"),
        ("len(p) * (p - below)", "(p - below)", "Eq. 14"),
        ("(p - below)", "(below - p)", "subtract the smaller"),
        ("torch.zeros(1, dtype=p.dtype)", "p[-1:]", "thresholds are positive"),
        ("thresholds[0] = p[0]", "thresholds[:2] = torch.stack([p[0], 3 * p[1] - 4 * (p[2] - p[3])])", "three spikes"),
        ("len(p) *", "4 *", "not 4"),
        ("return thresholds", "return thresholds.flip(0)", "Eq. 14"),
    ],
    "realised": [
        ("counts >= n", "counts > n", "reaches n spikes"),
        ("range(1, len(thresholds) + 1)", "range(len(thresholds) + 1)", "count 0"),
        (".min()", ".max()", "reaches n spikes"),
        ('float("inf")', "0.0", "infinite"),
        ("spike_counts(grid, thresholds)", "spike_counts(grid, thresholds[:1].expand(4))", "Eq. 19"),
        ("grid[counts >= n]", "grid[1:][(counts[1:] >= n) & (counts[:-1] < n)][-1:]", "first current"),
    ],
    "transitions_between": [
        ("return (lower + levels) / 2", "return levels", "half way"),
        ("return (lower + levels) / 2", "return (levels[:-1] + levels[1:]) / 2", "level 0 is below"),
        ("return (lower + levels) / 2", "return (lower * levels).sqrt()", "half way"),
        ("return (lower + levels) / 2", "return levels - lower", "half way"),
        ("torch.zeros(1, dtype=levels.dtype)", "levels[:1]", "between the levels 0 and 1"),
    ],
    "means_between": [
        (" & (x < high)", "", "ends at t_{k+1}"),
        ("x >= low", "x > low", "t_1 included"),
        ("x < high", "x <= high", "t_2 not"),
        (".mean()", ".median()", "mean is 1.25"),
        (".mean() for low", ".mean().new_tensor((low + min(high, 9)) / 2) for low", "mean is 1.25"),
        ('float("inf")', "3.5", "no upper end"),
        ("zip(transitions.tolist(), upper, strict=True)", "zip([0.0, 1.0, 2.0], [1.0, *upper])", "level 0"),
    ],
    "lloyd_max": [
        ("range(iterations)", "range(1)", "in turn"),
        ("range(iterations)", "range(iterations - 1)", "after one round"),
        ("(lower + levels) / 2, right=True", "levels, right=True", "in turn"),
        ("torch.zeros(1, dtype=x.dtype)", "levels[:1]", "stays 0"),
        ("return (lower + levels) / 2, levels", "return levels, levels", "stays 0"),
        ("return (lower + levels) / 2, levels", "return levels, (lower + levels) / 2", "stays 0"),
    ],
    "affine_sqnr_db": [
        ("n.square().mean() - n.mean() ** 2", "x.square().mean() - x.mean() ** 2", "without error"),
        ("gain * n - offset", "gain * n", "without error"),
        ("((n * x).mean() - n.mean() * x.mean())", "(n * x).mean()", "without error"),
        ("x.square().mean() / noise", "x.var() / noise", "10 dB"),
        ("10 * torch", "20 * torch", "10 dB"),
    ],
    "theta": [
        (".flatten(1).mean(1)", ".mean()", "one θ for each image"),
        ("spikes.movedim(1, 0).flatten(1).mean(1)", "spikes.flatten(1).mean(1)", "one θ for each image"),
        ("spikes.movedim(1, 0).flatten(1).mean(1)", "spikes.sum(0).flatten(1).mean(1)", "divide by T"),
        (".flatten(1).mean(1)", ".flatten(1).sum(1)", "divide by T"),
        (".flatten(1).mean(1)", ".mean((1, 2))", "a layer of maps"),
        (".flatten(1).mean(1)", ".flatten(1).bool().double().mean(1).ceil().float()", "2/12"),
    ],
    "network_theta": [
        ("return over_layers, over_neurons", "return over_neurons, over_layers", "comes first"),
        ("return over_layers, over_neurons", "return over_layers, over_layers", "over neurons"),
        ("return over_layers, over_neurons", "return over_neurons, over_neurons", "over layers"),
        (" / len(layers)", "", "over layers"),
        ("z.numel() for", "len(z) for", "over neurons"),
    ],
    "next_current": [
        ("+ bias", "", "bias flows in"),
        ("+ bias", "+ bias / len(spikes)", "bias flows in"),
        ("spikes @ weight.T", "spikes.mean(0).expand_as(spikes) @ weight.T", "not their rate"),
        ("spikes @ weight.T", "spikes.sum(0) @ weight.T", "for each timestep"),
        ("spikes @ weight.T", "spikes.cumsum(0) @ weight.T", "at t = 2"),
        ("+ bias", "+ bias * spikes.sum(2, keepdim=True)", "bias flows in"),
        ("spikes @ weight.T", "spikes @ weight.T.abs().cumsum(0)", "both weights"),
    ],
    "absorb_threshold": [
        ("weight / threshold, bias / threshold", "weight * threshold, bias * threshold", "smaller"),
        ("bias / threshold", "bias", "must be divided"),
        ("bias / threshold", "bias * threshold", "must be divided"),
        ("weight / threshold", "weight / threshold**2", "without a bias"),
        ("weight / threshold", "weight", "smaller"),
        ("weight / threshold, bias / threshold", "weight / 2, bias / 2", "0.5"),
    ],
    "error_parts": [
        ("mean.relu()", "mean", "take the ReLU"),
        ("constant - clipped", "constant - x", "compare r with c"),
        ("said - constant", "said - x", "not with x"),
        ("current.mean(0)", "current[0]", "mean current"),
        ("spikes.mean(0)", "spikes.sum(0)", "rate times V_th"),
        ("threshold * spikes", "spikes", "the rate times V_th"),
        ("threshold / timesteps * staircase", "1 / timesteps * staircase", "times V_th / T"),
        ("overload, granular, unevenness = (", "granular, overload, unevenness = (", "only be said as 1"),
        (" / x.square().mean()", "", "signal's mean square"),
        ("x.clamp(max=threshold)", "x", "only be said as 1"),
    ],
    "too_many_too_few": [
        ("count + (", "count - (", "a spike is missing"),
        (".clamp(0, len(spikes))", "", "clip"),
        (".clamp(0, len(spikes))", ".clamp(max=len(spikes))", "clip the count at 0"),
        (".clamp(0, len(spikes))", ".clamp(min=0)", "clip the count of the constant current at T"),
        (".floor()", ".round()", "round down"),
        (
            "(count > constant).double().mean().item(), (count < ",
            "(count < constant).double().mean().item(), (count > ",
            "comes second",
        ),
        ("last_membrane / threshold", "last_membrane", "divide by V_th"),
    ],
}


def names(task):
    return task[1] if isinstance(task, tuple) else Path(task).stem


@cache
def cells(path, solutions=True):
    """Return the cells of code behind the one that installs."""
    notebook = assignments.assignment(path, UNPUBLISHED, solutions)
    return [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]


def kind(cell):
    return cell.metadata.nbgrader.grade_id


def execute(source, namespace):
    exec(compile(source, "<cell>", "exec"), namespace)


@cache
def given(path):
    """Return the names of a notebook whose cells ran, answers and tests left out: what every task starts from."""
    namespace = {}
    for cell in cells(path):
        if kind(cell).startswith("given-") and not uses_an_answer(path, cell):
            execute(cell.source, namespace)
    return namespace


def uses_an_answer(path, cell):
    return any(re.search(rf"\b{name}\(", cell.source) for where, name in TASKS if where == path)


def visible(source):
    return assignments.replace_regions(source, assignments.HIDDEN_TESTS, [])


def answer_and_tests(path, name):
    by_name = {kind(cell): cell for cell in cells(path)}
    return by_name[name].source, by_name[f"{name}-tests"].source


def test_there_are_four_lectures_of_four_to_six_tasks_the_last_of_which_is_optional():
    assert [path.stem for path in SOURCES] == [f"lecture_{n}" for n in range(1, 5)]
    for path in SOURCES:
        points = [cell.metadata.nbgrader.points for cell in cells(path) if cell.metadata.nbgrader.grade]
        assert 5 <= len(points) <= 7
        assert points[-1] == 0 < min(points[:-1])
        text = "\n".join(c.source for c in assignments.read_assignment(path).cells if c.cell_type == "markdown")
        headings = re.findall(r"^## Task \d+.*?(?:\((\d+) points?\)|(optional).*)$", text, re.MULTILINE)
        assert [int(number or 0) for number, _ in headings] == points
        assert f"**Points:** {sum(points)}," in text
    assert {name for _, name in TASKS} == set(MISTAKES)


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_the_teachers_notebook_runs(path):
    namespace = {}
    for cell in cells(path):
        execute(cell.source, namespace)


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_of_the_solutions_and_the_hidden_tests_nothing_is_left_in_the_students_notebook(path):
    students, teachers = cells(path, solutions=False), cells(path)
    assert [kind(cell) for cell in students] == [kind(cell) for cell in teachers]
    for student, teacher in zip(students, teachers, strict=True):
        assert not any(mark in student.source for mark in (*assignments.SOLUTION, *assignments.HIDDEN_TESTS))
        shorter = bool(set(teacher.source.split("\n")) - set(student.source.split("\n")))
        assert shorter == (not kind(student).startswith("given-"))
        if student.metadata.nbgrader.solution:
            assert student.source.endswith("    # your code here\n    raise NotImplementedError()")


@pytest.mark.parametrize("task", TASKS, ids=names)
def test_a_stub_fails_in_its_own_tests_as_not_written_yet(task):
    path, name = task
    stubs = {kind(cell): cell.source for cell in cells(path, solutions=False)}
    namespace = dict(given(path))
    execute(stubs[name], namespace)
    with pytest.raises(NotImplementedError):
        execute(stubs[f"{name}-tests"], namespace)


@pytest.mark.parametrize("task", TASKS, ids=names)
def test_a_solution_passes_without_those_of_the_other_tasks(task):
    path, name = task
    namespace = dict(given(path))
    for source in answer_and_tests(path, name):
        execute(source, namespace)


@pytest.mark.parametrize(
    ("task", "mistake"),
    [
        pytest.param(task, mistake, id=f"{task[1]}-{n}")
        for task in TASKS
        for n, mistake in enumerate(MISTAKES.get(task[1], ()))
    ],
)
def test_a_mistake_is_found_and_the_message_says_which(task, mistake):
    path, name = task
    right, wrong, words = mistake
    answer, tests = answer_and_tests(path, name)
    assert right in answer, "the solution has changed: mend the mistake"
    namespace = dict(given(path))
    execute(answer.replace(right, wrong), namespace)
    torch.manual_seed(0)
    with pytest.raises(AssertionError) as caught:
        execute(visible(tests), namespace)
    assert words in str(caught.value)


def test_every_test_says_what_is_wrong():
    for path in SOURCES:
        for cell in cells(path):
            for test in re.findall(r"^ *assert .*(?:\n(?!\S| *assert).*)*", cell.source, re.MULTILINE):
                assert '"' in test, f"{path.stem}, {kind(cell)}: {test}"


@pytest.mark.parametrize("path", SOURCES, ids=names)
@pytest.mark.parametrize("solutions", [True, False])
def test_the_notebooks_are_valid_and_install_the_library_first(path, solutions):
    notebook = assignments.assignment(path, PUBLISHED, solutions)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source == bootstrap(PUBLISHED).rstrip()
    assert all(not cell.outputs for cell in code)
    found = [cell.metadata.nbgrader for cell in code]
    assert len({one.grade_id for one in found}) == len(found)
    for one in found:
        assert re.fullmatch(r"[\w-]+", one.grade_id)
        assert one.locked is not one.solution
        assert one.grade is ("points" in one)
        assert (one.schema_version, one.task) == (3, False)
    assert "git+" not in assignments.assignment(path, UNPUBLISHED, solutions).cells[0].source


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_nbgrader_takes_them_and_makes_the_same_stubs(path):
    preprocessors = pytest.importorskip("nbgrader.preprocessors", reason="nbgrader is not installed")
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    teachers = assignments.assignment(path, UNPUBLISHED, solutions=True)
    validator.validate_nb(teachers)
    validator.validate_nb(assignments.assignment(path, UNPUBLISHED, solutions=False))
    made = NotebookNode(teachers)
    for step in (preprocessors.ClearSolutions(), preprocessors.ClearHiddenTests()):
        made, _ = step.preprocess(made, {"notebook_id": path.stem})
    ours = [cell.source for cell in assignments.assignment(path, UNPUBLISHED, solutions=False).cells]
    assert [cell.source.replace("# YOUR CODE HERE", "# your code here").rstrip() for cell in made.cells] == ours


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("### BEGIN SOLUTION\n1", "'### BEGIN SOLUTION' has no partner"),
        ("### END SOLUTION", "'### END SOLUTION' has no partner"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "'### BEGIN SOLUTION' has no partner"),
    ],
)
def test_a_mark_without_its_partner_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        assignments.replace_regions(source, assignments.SOLUTION, assignments.STUB)


@pytest.mark.parametrize(
    "source",
    [
        '# %% answer="f"\nf = 1\n\n# %% tests="f" points=1\nassert f',
        '# %% answer="f"\n### BEGIN SOLUTION\nf = 1\n### END SOLUTION',
        '# %% tests="f" points=1\nassert f',
        '# %% answer="f"\n### BEGIN SOLUTION\nf = 1\n### END SOLUTION\n\n# %% tests="f"\nassert f',
    ],
)
def test_an_answer_without_a_solution_or_without_tests_is_refused(tmp_path, source):
    (tmp_path / "lecture_1.py").write_text(source)
    with pytest.raises(ValueError, match=r"lecture_1\.py: "):
        assignments.read_assignment(tmp_path / "lecture_1.py")


def test_solutions_do_not_reach_the_site(tmp_path, monkeypatch, capsys):
    (tmp_path / "book" / "assignments").mkdir(parents=True)
    for name in ("_config.yml", "book/assignments/lecture_1.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["assignments", "--root", str(tmp_path)])
    assert assignments.main() == 0
    assert "1 assignments" in capsys.readouterr().out
    made = sorted(path.relative_to(tmp_path / "_build").as_posix() for path in tmp_path.rglob("*.ipynb"))
    assert made == ["assignments/source/lecture_1/lecture_1.ipynb", "html/assignments/student/lecture_1.ipynb"]
    site = (tmp_path / "_build" / "html").rglob("*")
    assert not any("BEGIN SOLUTION" in path.read_text(encoding="utf-8") for path in site if path.is_file())


LINK = '<a href="../assignments/student/lecture_2.ipynb" download>Lecture 2</a>'


@pytest.mark.parametrize("repo", [PUBLISHED, UNPUBLISHED])
def test_a_link_to_an_assignment_is_followed_by_one_to_colab(tmp_path, repo):
    page = tmp_path / "teach.html"
    page.write_text(f'<a href="teach.html">Other</a><li>{LINK}</li>')
    for _ in range(2):
        assignments.link_colab(page, repo)
    colab = "https://colab.research.google.com/github/o/r/blob/gh-pages/assignments/student/lecture_2.ipynb"
    more = f' <a class="assignment-colab" href="{colab}">Open in Colab</a>' if repo is PUBLISHED else ""
    assert page.read_text() == f'<a href="teach.html">Other</a><li>{LINK}{more}</li>'


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_the_teachers_notebook_runs_in_a_kernel(path, tmp_path):
    papermill = pytest.importorskip("papermill")
    notebook = assignments.write(assignments.assignment(path, UNPUBLISHED, solutions=True), tmp_path / "teacher.ipynb")
    papermill.execute_notebook(
        notebook, None, cwd=tmp_path, kernel_name="python3", progress_bar=False, start_timeout=600
    )
