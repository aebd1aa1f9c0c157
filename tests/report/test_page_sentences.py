import json
import re
from collections import Counter

import numpy as np
import pytest

from sfumato.report import charts
from sfumato.report.changed_rows import rows_to_show
from sfumato.report.compare_page import _calibration, compose, render
from sfumato.runs.read import load_run
from tests.report.run_folders import log_softmax, nll, without_terms, words, write_examples, write_run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run, and the text of its page with all figures."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "digits")
    return load_run(folder), without_terms(render(folder).read_text(encoding="utf-8"))


def edited(folder, **changes):
    """The folder, with other values at the top of its `env.json`."""
    env = json.loads((folder / "env.json").read_text())
    (folder / "env.json").write_text(json.dumps({**env, **changes}))
    return folder


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A run, and the text of its page, whose classes have names and whose rows are texts."""
    names = [f"class {k}" for k in range(10)]
    folder = write_run(
        tmp_path_factory.mktemp("runs") / "run", seeds=3, epochs=2, test=900, class_names=names, noise=0.4
    )
    write_examples(folder, rows_to_show(folder), "text")
    return load_run(folder), words(folder)


def seen_by(run, arm, i):
    """The answer of most seeds to test row i, of tied ones the likelier; their number; p of the label."""
    answers = [int(run.test[arm, seed].logits[i].argmax()) for seed in run.seeds]
    scaled = [run.test[arm, seed].logits[[i]].astype(float) / run.temperature(arm, seed) for seed in run.seeds]
    p = np.exp([log_softmax(z)[0] for z in scaled]).mean(axis=0)
    votes = Counter(answers)
    answer = max(votes, key=lambda k: (votes[k], p[k]))
    return answer, votes[answer], p[run.labels[i]]


def test_each_card_shows_its_own_row_as_each_arm_sees_it(spoken):
    run, page = spoken
    cards = re.findall(r"<li>(.*?)</li>", re.search(r'<ul class="cards.*</ul>', page, re.DOTALL)[0], re.DOTALL)
    assert len(cards) > 20
    place = {int(row): i for i, row in enumerate(run.index)}
    for card in cards:
        label, row = re.search(r'label <strong>(.*?)</strong> <span class="quiet">row ([\d,]+)', card).groups()
        i = place[int(row.replace(",", ""))]
        assert label == f"class {run.labels[i]}"
        assert f"Row {run.index[i]}. A &lt;b&gt;" in card
        shown = re.findall(
            r'arm-(\d)"></span>([\w-]+): <span class="(\w+)">(.*?)</span> <span class="quiet">p = ([\d.]+)'
            r"(?:, (\d)\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}3)?<",
            card,
        )
        assert [(mark, arm) for mark, arm, *_ in shown] == [("0", "one-hot"), ("1", "smoothed")]
        for _, arm, right, said, p, votes in shown:
            answer, most, known = seen_by(run, arm, i)
            assert (right, said) == ("right" if answer == run.labels[i] else "wrong", f"class {answer}")
            assert float(p) == float(f"{known:.2f}")
            assert votes == ("" if most == 3 else str(most))


def test_the_lists_of_changed_rows_are_those_that_their_headings_say(spoken):
    _, page = spoken
    lists = re.findall(r"<h3>([^<]*) <span.*?</h3>\s*<ul class=\"cards.*?>(.*?)</ul>", page, re.DOTALL)
    marks = {
        title: [re.findall(r'class="(right|wrong)"', card) for card in cards.split("<li>")[1:]]
        for title, cards in lists
    }
    assert set(map(tuple, marks["Only smoothed is right"])) == {("wrong", "right")}
    assert set(map(tuple, marks["Only one-hot is right"])) == {("right", "wrong")}
    assert set(map(tuple, marks["Both are wrong, differently"])) == {("wrong", "wrong")}


@pytest.mark.parametrize("choice", ["one-hot", "smoothed"])
@pytest.mark.parametrize(
    ("gain", "at_bound", "divides"),
    [((-0.02, -0.01), False, True), ((-0.02, 0.01), False, False), ((0.01, 0.02), False, False),
     ((-0.02, -0.01), True, False), (None, False, True)],
)  # fmt: skip
def test_the_code_divides_by_a_temperature_that_helps_on_test_rows_and_by_no_other(
    tmp_path, choice, gain, at_bound, divides
):
    folder = write_run(tmp_path / "run", choice=choice, seeds=2, epochs=1, test=40)
    env = json.loads((folder / "env.json").read_text())
    env["temperatures"][choice][1]["at_bound"] = at_bound
    other = {"one-hot": "smoothed", "smoothed": "one-hot"}[choice]
    opposite = 0.01 if divides else -0.01  # what the other arm gains does not matter
    gains = {} if gain is None else {choice: {"low": gain[0], "high": gain[1]}, other: {"high": opposite}}
    page = words(edited(folder, temperatures=env["temperatures"], temperature_gain=gains))
    mean = next(arm["metrics"]["temperature"]["mean"] for arm in load_run(folder).arms if arm["name"] == choice)
    assert (f"probabilities = (logits / {mean:.2f}).softmax(dim=1)" in page) == divides
    assert ("probabilities = " in page) == divides
    assert ("A temperature did not lower its log loss on test rows reliably" in page) != divides
    if choice == "one-hot":
        assert (f"and divide the logits by {mean:.2f}" in page) == divides


def test_sentences_give_each_arm_its_own_numbers(spoken):
    run, page = spoken
    text = re.sub(r"<[^>]*>", " ", page.replace("\N{NO-BREAK SPACE}", " "))
    for arm, title in zip(run.arms, ("one-hot", "smoothed 0.1 (others)"), strict=True):
        metrics = arm["metrics"]
        gaps = [100 * metrics[f"signed_gap{end}"]["mean"] for end in ("", "_after_temperature")]
        said = [f"{gap:+.1f}".replace("-", "−") for gap in gaps]
        assert f"{title} {said[0]} points, with its temperature {said[1]}" in text
        assert f"{title} {(1 - metrics['accuracy']['mean']) * 900:.1f}" in text
    gap = np.log(81)
    assert f"For smoothed 0.1 (others) the loss is smallest where the logit of the label stands {gap:.2f} nats" in text
    assert "On the training rows the mean gap of the trained models is 4.39 nats." in text
    assert f"The same 0.1 spread over all classes would aim at {np.log(91):.2f} nats." in text
    assert "For one-hot no finite gap is best" in text
    assert "Here it came to 12.00 nats." in text
    floor = -0.9 * np.log(0.9) - 0.1 * np.log(0.1 / 9)
    assert f"That floor is 0 for one-hot, {floor:.3f} for smoothed".replace("0.", ".", 1) in text


def test_changed_rows_are_counted_by_who_is_right(spoken):
    run, page = spoken
    answers = np.array([[seen_by(run, arm, i)[0] for arm in ("one-hot", "smoothed")] for i in range(len(run.labels))])
    base, other = (answers == run.labels[:, None]).T
    gained, lost = (other & ~base).sum(), (base & ~other).sum()
    swapped = (~base & ~other & (answers[:, 0] != answers[:, 1])).sum()
    assert len({gained, lost, swapped}) == 3 < min(gained, lost, swapped)  # or a swap of two would not be seen
    assert (
        f"Of 900 test rows, {gained} are right only with smoothed, {lost} only with one-hot, and {swapped} are wrong "
        "with both, but differently."
    ) in page


def short(value):
    return f"{value:.3f}".removeprefix("0")


def test_sentences_about_figures_give_each_arm_its_own_numbers(drawn):
    run, page = drawn
    text = re.sub(r"<[^>]*>", " ", page.replace("\N{NO-BREAK SPACE}", " "))
    wanted = round(0.8 * len(run.labels))
    for arm, title in (("one-hot", "one-hot"), ("smoothed", "smoothed 0.1 (others)")):
        fitted = np.exp(np.mean([np.log(run.temperature(arm, seed)) for seed in run.seeds]))
        one, best = (
            np.mean([nll(run.test[arm, seed].logits / t, run.labels) for seed in run.seeds]) for t in (1.0, fitted)
        )
        assert f"{title} {short(one)} as trained, {short(best)} at T = {fitted:.2f}" in text
        risks = [np.mean([risk(run, arm, seed, wanted, scaled) for seed in run.seeds]) for scaled in (False, True)]
        said = re.search(rf"{re.escape(title)} (\d+\.\d) %, with its temperature (\d+\.\d) %", text).groups()
        assert [float(value) for value in said] == pytest.approx([100 * value for value in risks], abs=0.3)
    clouds = charts.plot_projection(run).numbers["clouds"]
    for train, test in zip(clouds[::2], clouds[1::2], strict=True):
        assert (train.part, test.part) == ("train", "test")
        shown = [f"{cloud.spread:.2f}".removeprefix("0") for cloud in (train, test)]
        assert f"{train.arm} {shown[0]} on training rows and {shown[1]} on test rows" in text


def test_fewer_wrong_rows_than_one_a_seed_have_their_zero(tmp_path):
    folder = write_run(tmp_path / "run", seeds=2, epochs=1, test=40)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for arm, wrong in zip(summary["arms"], (0, 0.5), strict=True):
        arm["metrics"]["accuracy"]["mean"] = 1 - wrong / 40
    (folder / "summary.json").write_text(json.dumps(summary))
    page = without_terms(render(folder).read_text(encoding="utf-8"))
    assert "Wrong test rows a seed, of 40: one-hot 0.0, smoothed 0.1 (others) 0.5." in page


def risk(run, arm, seed, answered, scaled):
    """Share of wrong answers among so many rows, the most confident first."""
    z = run.test[arm, seed].logits / (run.temperature(arm, seed) if scaled else 1.0)
    confidence, wrong = log_softmax(z).max(axis=1), z.argmax(axis=1) != run.labels
    return wrong[np.argsort(-confidence)][:answered].mean()


def test_the_section_on_fairness_shows_hashes_budget_and_probed_targets(spoken):
    run, page = spoken
    rows = re.findall(r"<tr><td>(\d)</td><td><code>(\w+)</code></td><td><code>(\w+)</code></td><td>✓ equal", page)
    paired = run.summary["paired"]
    assert rows == [(str(s), paired["weights"][s][:8], paired["batches"][s][:8]) for s in range(3)]
    assert "2 epochs of batches of 64 rows, 34 steps, the same in every arm" in page
    assert "SGD, momentum 0.9, learning rate 0.05, cosine to 0" in page
    assert "930 training, 910 validation, 900 test" in page
    table = re.search(r'aria-label="Target of each loss">.*?</table>', page, re.DOTALL)[0]
    probes = [re.findall(r"<td>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert probes == [["0", "0", "1.0000", "0"], ["0.1 over others", "0.1111", "0.9000", "0.01111"]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"noise": {"rate": 0.4}}}, "replaced on purpose, with probability 0.4 by another class: 2,010 of the "
         "training rows and 9 of the validation rows have another label; test labels are as they were"),
        ({"data": {"noise": {"rate": None}}}, "replaced on purpose, by table.csv: 2,010 of the training rows"),
        ({"data": {"duplicates": 1}}, "1 row repeats an earlier one, and count with it as one"),
        ({"data": {"duplicates": 1200}}, "1,200 rows repeat an earlier one, and count with it as one"),
        ({"training": {"early_stop": 5, "steps": 0}}, "at most 2 epochs of batches of 64 rows; a run stops when "
         "5 epochs brought nothing better on validation rows"),
        ({"training": {"schedule": ""}}, "SGD, momentum 0.9, learning rate 0.05</dd>"),
        ({"training": {"augment": ["flip"]}}, "training pictures flipped left to right every other time; "
         "the same draws in every arm"),
        ({"model": {"parameters": 0, "description": ""}}, "<dt>Model</dt><dd>mlp</dd>"),
    ],
)  # fmt: skip
def test_the_budget_says_what_was_done_to_rows_and_steps(tmp_path, changes, said):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=40)
    env = json.loads((folder / "env.json").read_text())
    noise = {"given": "table.csv", "transition": None, "replaced": {"train": 2010, "validation": 9}}
    for name, own in changes.items():
        own = own if "noise" not in own else {"noise": {**noise, **own["noise"]}}
        changes[name] = {**env[name], **own}
    assert said in words(edited(folder, **changes))


def test_a_temperature_that_was_odd_is_noted_with_its_arm_and_seeds(tmp_path):
    folder = write_run(tmp_path / "run", seeds=3, epochs=1, test=40)
    temperatures = json.loads((folder / "env.json").read_text())["temperatures"]
    for seed in (0, 2):
        temperatures["smoothed"][seed]["at_bound"] = True
    page = words(edited(folder, temperatures=temperatures))
    assert "stopped at the end of its search range: smoothed 0.1 (others) (seeds 0, 2)." in page
    assert "joined the fit: one-hot (seed 1); smoothed 0.1 (others) (seed 1)." in page


def test_uneven_classes_are_a_warning_and_have_a_table_of_their_recall(tmp_path):
    folder = write_run(tmp_path / "run", seeds=2, epochs=2, test=60)
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    text = 'The classes are uneven: 75.0 % of the test rows are "<b>".'
    summary["warnings"] = [{"code": "imbalance", "column": None, "text": text}]
    path.write_text(json.dumps(summary), encoding="utf-8")
    run = load_run(folder)
    page = without_terms(compose(run, {}, {}))
    assert "75.0&nbsp;%" in page or "75.0 %" in page
    assert "<b>" not in page
    table = re.search(r'aria-label="Recall of each class">.*?</table>', page, re.DOTALL)[0]
    rows = re.findall(r'<th scope="row" translate="no">(.*?)</th><td>(\d+)</td><td>(.*?)</td><td>(.*?)</td>', table)
    assert sum(int(row[1]) for row in rows) == 60
    label = int(np.bincount(run.labels).argmax())
    own = run.labels == label
    right = [np.mean(run.test["smoothed", seed].logits[own].argmax(axis=1) == label) for seed in run.seeds]
    assert (rows[0][1], rows[0][3].replace("&nbsp;", " ")) == (str(own.sum()), f"{100 * np.mean(right):.1f} %")


def test_a_run_without_a_mean_temperature_is_divided_by_the_mean_of_those_fitted(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=2, epochs=2, test=50))
    fitted = [entry["value"] for entry in run.env["temperatures"]["smoothed"]]
    for arm in run.arms:
        arm["metrics"].pop("temperature")
    assert f"probabilities = (logits / {np.mean(fitted):.2f}).softmax(dim=1)" in compose(run, {}, {})


def soften(folder):
    """Give the test rows of a run soft labels, four fifths of whose mass is on the label."""
    for file in (folder / "logits").glob("*-test.npz"):
        arrays = dict(np.load(file))
        classes = arrays["logits"].shape[1]
        np.savez(file, **arrays, label_probs=0.8 * np.eye(classes)[arrays["labels"]] + 0.2 / classes)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    for arm in summary["arms"]:
        metrics = arm["metrics"]
        metrics |= {"agreement": metrics["accuracy"], "kl": metrics["nll"], "kl_after_temperature": metrics["nll"]}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def test_with_soft_labels_the_page_asks_whether_confidence_matches_agreement(tmp_path):
    write_run(tmp_path / "run")
    soften(tmp_path / "run")
    page = without_terms(render(tmp_path / "run").read_text("utf-8"))
    assert "Does confidence match agreement?" in page
    assert "match accuracy" not in page
    assert "confidence − accuracy" not in page
    assert "On the diagonal as many of the annotators agree with a model as its confidence says." in page
    assert re.search(r"so many of the annotators disagree with the answers: one-hot \d", page)
    assert "wrong among them" not in page


def test_no_share_is_shown_of_targets_that_differ_from_row_to_row(tmp_path):
    write_run(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    summary["arms"][1] |= {"eps": 0.3, "over": None, "closed_form_gap": None}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    page = without_terms(render(tmp_path / "run").read_text("utf-8"))
    row = '<tr><th scope="row">smoothed</th><td>its own</td><td>none</td><td>–</td><td>–</td></tr>'
    assert row in page
    assert "The targets of smoothed differ from row to row, so no share stands there" in page
    assert "some classes have no mass in a soft label" in page


@pytest.mark.parametrize(("eps", "beyond"), [(0.1, False), (0.95, True)])
def test_what_torch_cannot_express_is_said_of_the_arms_that_it_concerns(tmp_path, eps, beyond):
    page = words(write_run(tmp_path / "run", seeds=1, epochs=1, test=50, smoothed=(eps,)))
    assert ("torch's label_smoothing cannot express" in page) == beyond


def test_the_model_is_told_with_its_size(tmp_path):
    page = words(write_run(tmp_path / "run", seeds=1, epochs=1, test=50))
    assert "mlp: 64-256-256-10, ReLU, 85,002 parameters" in page


def test_less_than_a_point_of_confidence_has_its_zero():
    numbers = {"signed_gap": -0.003, "signed_gap_after_temperature": 0.0004}
    metrics = {name: {"mean": mean, "low": mean, "high": mean} for name, mean in numbers.items()}
    arm = {"name": "smoothed", "eps": 0.1, "over": "others", "metrics": metrics}
    assert _calibration(arm) == "smoothed 0.1 (others) −0.3 points, with its temperature 0.0"


@pytest.mark.parametrize(("classes", "more"), [(20, ""), (21, " and 1 more"), (25, " and 5 more")])
def test_at_most_twenty_classes_are_named(tmp_path, classes, more):
    names = [f"name-{k}" for k in range(classes)]
    page = words(write_run(tmp_path / "run", seeds=1, epochs=1, test=80, classes=classes, class_names=names))
    assert f"{', '.join(names[:20])}{more}" in page
    assert (" and " + str(classes - 20) + " more" in page) == bool(more)
