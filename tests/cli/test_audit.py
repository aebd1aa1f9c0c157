"""`sfumato audit` as a stranger runs it: the letter, the JSON, the page, exit codes and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import softmax

import sfumato.evaluate as ev
from sfumato.cli import main
from tests.conftest import run_sfumato
from tests.report.run_folders import without_terms

ELSEWHERE = {**os.environ, "PYTHONPATH": str(ev.__path__[0]) + "/../.."}  # for a process in another folder
CONTRACT = (
    *("accuracy", "nll", "brier", "ece", "signed_gap", "temperature", "eaurc", "logit_gap", "ece_noise_floor", "aurc"),
    *("augrc", "nll_after_temperature", "brier_after_temperature", "ece_after_temperature"),
    *("signed_gap_after_temperature", "eaurc_after_temperature"),
)


def sample(temperature=2.0, n=3000, k=6, seed=0):
    """Logits whose probabilities are right once they are divided by the temperature."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    p = softmax(z, axis=1)
    return temperature * z, np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name="val.npz", *, logits=None, labels=None, **options):
    z, y = sample(**options)
    np.savez(name, logits=z if logits is None else logits, labels=y if labels is None else labels)
    return name


def run(capsys, *words):
    code = main(["audit", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_json_is_the_contract_and_the_numbers_are_those_of_the_library(here, capsys):
    code, out, err = run(capsys, save(), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["schema"], told["rows"], told["classes"]) == ("sfumato.audit/1", 3000, 6)
    assert set(CONTRACT) <= set(told["metrics"])
    assert told["inferred_smoothing"] is None
    assert all(isinstance(sentence, str) for sentence in told["reading"])
    z, y = sample()
    truth = ev.evaluate(logits=z, labels=y)
    for name, entry in told["metrics"].items():
        assert set(entry) == {"value", "low", "high"}
        assert entry["value"] == pytest.approx(truth.to_dict()[name], rel=1e-12), name
        assert entry["low"] <= entry["value"] <= entry["high"], name
    assert json.loads((here / "val-audit.json").read_text(encoding="utf-8")) == told


@pytest.mark.parametrize(("temperature", "code"), [(2.0, 3), (1.0, 0)])
def test_strict_exits_3_on_a_finding(temperature, code, here, capsys):
    assert run(capsys, save(temperature=temperature), "--strict")[0] == code
    assert ("There is no finding" in run(capsys, "val.npz")[1]) == (code == 0)


@pytest.mark.parametrize(("temperature", "word"), [(2.0, "OVER"), (0.5, "UNDER")])
def test_the_letter_says_how_confidence_is_wrong_and_by_what_to_divide(temperature, word, here, capsys):
    code, out, _ = run(capsys, save(temperature=temperature))
    assert code == 0
    text = " ".join(out.split())
    assert f"1. The model is {word}-confident: it claims" in text
    found = re.search(r"→ Divide the logits by T = ([\d.]+) \(([\d.]+) to ([\d.]+)\)", text)
    value, low, high = (float(number) for number in found.groups())
    assert low < temperature < high
    assert value == pytest.approx(temperature, rel=0.1)
    assert "These rows cannot tell whether the model was trained with label smoothing." in text
    sure = "surer than it should be" if word == "OVER" else "less sure than it could be"
    assert text.startswith(f"The model is {sure}: on average it is ")
    assert f". Divide the logits by T = {found[1]} (" in text.partition("1. The model")[0]
    assert "val.npz: 3,000 rows of 6 classes, logits in float64; the largest score is shared in no row." in text
    assert "(--rows train if that is wrong)" in text


def test_a_smoothed_model_is_said_to_be_one_with_its_strength_and_no_teacher(here, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 10
    z = np.log(np.eye(10)[y] * 0.9 + 0.01) + rng.normal(size=(600, 10)) * 0.02
    _, out, _ = run(capsys, save(logits=z.astype(np.float32), labels=y), "--rows", "train", "--json")
    told = json.loads(out)
    assert told["inferred_smoothing"]["eps_all"] == pytest.approx(0.1, rel=0.02)
    assert told["inferred_smoothing"]["low"] < 0.1 < told["inferred_smoothing"]["high"]
    finding = next(each for each in told["findings"] if each["code"] == "smoothed")
    said = re.search(r"ε is ([\d.]+) over all classes .* or ([\d.]+) over the others", finding["text"])
    assert float(said[1]) == pytest.approx(0.1, rel=0.02)
    assert float(said[2]) == pytest.approx(0.09, rel=0.02)
    assert "to be worse teachers at a raised temperature" in finding["advice"]


def test_confidence_that_ranks_nothing_is_found(here, capsys):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 5))
    y = np.where(rng.random(2000) < 0.7, z.argmax(axis=1), rng.integers(5, size=2000))
    told = json.loads(run(capsys, save(logits=z, labels=y), "--json")[1])
    assert "poor-ranking" in [finding["code"] for finding in told["findings"]]


def test_labels_that_do_not_belong_to_the_rows_are_found(here, capsys):
    z, y = sample()
    told = json.loads(run(capsys, save(logits=z, labels=np.random.default_rng(1).permutation(y)), "--json")[1])
    assert told["findings"][0]["code"] == "no-better-than-commonest"


def test_ties_are_counted_and_the_type_is_named(here, capsys):
    z, y = sample()
    out = run(capsys, save(logits=np.round(z / 4).astype(np.float16), labels=y))[1]
    text = " ".join(out.split())
    tied = int((np.sort(np.round(z / 4), axis=1)[:, -1] == np.sort(np.round(z / 4), axis=1)[:, -2]).sum())
    assert f"In {tied:,} rows" in text
    assert f"logits in float16; the largest score is shared in {tied:,} rows." in text
    assert "Save them as float32 to be exact." in text


def test_repeated_rows_and_missing_classes_are_said(here, capsys):
    z, y = sample(n=500)
    z[7], z[9] = z[3], z[3]
    keep = y != 2
    out = run(capsys, save(logits=z[keep], labels=y[keep]))[1]
    copies = keep[[3, 7, 9]].sum() - 1
    assert f"{copies} row{'s' if copies > 1 else ''} repeat" in out
    assert "5 of the 6 classes occur among the labels." in out


def test_against_another_model_differences_are_paired(here, capsys):
    z, y = sample(n=2000)
    worse = z.copy()
    worse[:200] = np.random.default_rng(5).normal(size=(200, 6))
    save("a.npz", logits=z, labels=y)
    save("b.npz", logits=worse, labels=y)
    told = json.loads(run(capsys, "a.npz", "--against", "b.npz", "--json")[1])
    right = (z.argmax(axis=1) == y).astype(float) - (worse.argmax(axis=1) == y)
    known = ev.estimate_interval(right[None, :])
    entry = told["differences"]["accuracy"]
    assert entry["value"] == pytest.approx(right.mean(), rel=1e-12)
    assert (entry["low"], entry["high"]) == pytest.approx((known.low, known.high), rel=1e-9)
    says = next(finding["text"] for finding in told["findings"] if finding["code"] == "differs-from-other")
    assert "better in accuracy" in says
    assert re.search(rf"accuracy, points +\+{100 * right.mean():.1f} ", run(capsys, "a.npz", "--against", "b.npz")[1])
    assert "the two models are equivalent in accuracy" in " ".join(
        run(capsys, "a.npz", "--against", "a.npz")[1].split()
    )


def test_standard_input_is_read_like_a_file(here):
    save()
    read = subprocess.run(
        [sys.executable, "-m", "sfumato", "audit", "-", "--json"],
        input=(here / "val.npz").read_bytes(), capture_output=True, check=False, env=ELSEWHERE, cwd=here,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    told = json.loads(read.stdout)
    assert told["rows"] == 3000
    assert told["read"][0].startswith("standard input: ")


def test_labels_may_come_from_a_file_of_their_own_and_probabilities_be_named(here, capsys):
    z, y = sample()
    np.save("p.npy", softmax(z, axis=1))
    np.save("y.npy", y)
    code, out, err = run(capsys, "p.npy", "--labels", "y.npy", "--kind", "probs", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["metrics"]["nll"]["value"] == pytest.approx(ev.evaluate(logits=z, labels=y).nll, rel=1e-9)
    assert told["metrics"]["temperature"]["value"] == pytest.approx(ev.evaluate(logits=z, labels=y).temperature)


def test_the_folder_of_a_comparison_is_audited_with_its_features(digits, capsys, here):
    folder = digits.folder / digits.json()["run"]
    code, out, err = run(capsys, str(folder), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert "nc1" in told["metrics"]
    assert "on test rows was read" in told["read"][-1]
    seeds = {arm["name"]: arm["seeds"] for arm in told["arms"]}
    assert seeds == {arm["name"]: [*range(len(digits.json()["paired"]["weights"]))] for arm in digits.json()["arms"]}
    assert "5 models, each on the rows of its own fold" in told["read"][-1]
    (own,) = (arm for arm in told["arms"] if f"the arm {arm['name']} on" in told["read"][-1])
    rows = [360, 360, 359, 359, 359]
    assert told["metrics"]["nll"]["value"] == pytest.approx(np.average(own["metrics"]["nll"]["values"], weights=rows))
    letter = run(capsys, str(folder))[1]
    assert "the mean, and after ± the standard deviation between seeds" in " ".join(letter.split())
    trained = json.loads(run(capsys, str(folder / "logits" / "smoothed-seed0-train.npz"), "--json")[1])
    assert "arms" not in trained
    assert trained["assumed_rows"] == "train"
    others = 0.1  # compare's default, over the others
    found = trained["inferred_smoothing"]
    assert found["eps_others"] == pytest.approx(others, rel=0.1)
    one_hot = json.loads(run(capsys, str(folder / "logits" / "one-hot-seed0-train.npz"), "--json")[1])
    assert one_hot["inferred_smoothing"] is None


def test_a_run_that_lacks_the_scores_of_a_seed_is_refused_as_report_refuses_it(digits, capsys, here):
    copy = shutil.copytree(digits.folder / digits.json()["run"], here / "copy")
    lost = copy / "logits" / "smoothed-seed1-test.npz"
    lost.unlink()
    code, out, err = run(capsys, str(copy))
    assert (code, out, err) == (2, "", f"sfumato: {lost} is missing: the run is incomplete\n")
    assert main(["report", str(copy)]) == 2
    assert capsys.readouterr().err == err
    assert [path.name for path in here.iterdir()] == ["copy"]


def test_the_page_needs_nothing_from_outside_and_holds_the_numbers(here, capsys):
    told = json.loads(run(capsys, save(), "--json")[1])
    page = (here / "val-audit.html").read_text(encoding="utf-8")
    assert len(page) < 200_000
    assert not re.search(
        r"(?:src|href)=(?!\"#)|https?://(?!www\.w3\.org)|<script (?!type=\"appl)|@import|url\((?!#)", page
    )
    assert page.count("<svg") == page.count('role="img" aria-label="') == 4
    shown = without_terms(page).partition("<script")[0]
    chip = re.search(r'<p class="chip (.*?)">', page)[1]
    for finding in told["findings"]:  # the state has its finding in the heading
        assert (finding["text"].split(":")[0] in shown) == (finding["code"] != chip)
    again = run(capsys, "val.npz", "--json")
    assert (here / "val-audit.html").read_text(encoding="utf-8") == page
    assert json.loads(again[1]) == told


def refused(capsys, *words):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("sfumato: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, y: (softmax(z, axis=1), y), "look like probabilities, not logits: in 3,000 rows every number lies"),
        (lambda z, y: (100 * softmax(z, axis=1), y), "divided by 100 as probs=, or with --kind percent\n"),
        (lambda z, y: (z, y[:-1]), "has 3000 rows of scores and 2999 labels; they must be as many"),
        (lambda z, y: (z, np.where(y == 5, 6, y)), "label 6 in row"),
        (lambda z, y: (z, y - 1), "label -1 in row"),
        (
            lambda z, y: (np.where(np.arange(3000)[:, None] % 1000 == 7, np.nan, z), y),
            "not finite: nan at class 0; 3 rows are so (7, 1007, 2007)",
        ),
        (lambda z, y: (z[:, :1], y * 0), "logits must have at least 2 classes, got 1"),
        (lambda z, y: (z.astype(int), y), 'logits must be of a float type, got int64; give logits.astype("float32")\n'),
        (lambda z, y: (z, y > 2), "labels must be integers, got bool; give labels.astype(int)\n"),
        (lambda z, y: (z, y + 0.5), "labels must be integers, got float64"),
    ],
)  # fmt: skip
def test_input_that_means_nothing_is_refused_by_name(change, message, here, capsys):
    z, y = change(*sample())
    np.savez("val.npz", logits=z, labels=y)
    assert message in refused(capsys, "val.npz")


def test_every_wrong_label_is_counted(here, capsys):
    z, y = sample()
    y[[4, 5, 6]] = 9
    said = refused(capsys, save(logits=z, labels=y))
    assert "label 9 in row 4 is not a class: logits have 6 classes (0 to 5); 3 rows are so (4, 5, 6)" in said
    assert "ignored" not in said
    y[[4, 5, 6]] = -1
    said = refused(capsys, save(logits=z, labels=y))
    assert said.strip().endswith("(4, 5, 6); if they mark rows that the loss ignored, leave these out")
    said = refused(capsys, save(logits=z, labels=sample()[1] + 1))
    assert said.strip().endswith("…); if the labels count from 1, give labels - 1")


def test_rows_whose_label_is_minus_100_do_not_count(here, capsys):
    z, y = sample()
    ignored = np.isin(np.arange(3000), [0, 4, 2999])
    z[ignored] = np.nan
    group = np.arange(3000) // 3
    np.savez("all.npz", logits=z, labels=np.where(ignored, -100, y), group=group)
    np.savez("less.npz", logits=z[~ignored], labels=y[~ignored], group=group[~ignored])
    (whole, less) = (json.loads(run(capsys, name, "--json", "--against", name)[1]) for name in ("all.npz", "less.npz"))
    assert whole["notes"] == [
        {"code": "rows-ignored", "text": "Rows whose label is −100 do not count; 2,997 rows are left."},
        *less["notes"],
    ]
    same = ("rows", "groups", "metrics", "findings", "summary", "differences", "smoothing_evidence")
    assert [whole[name] for name in same] == [less[name] for name in same]
    z[7, 2] = np.nan
    said = refused(capsys, save(logits=z, labels=np.where(ignored, -100, y)))
    assert said == "sfumato: val.npz: logits in row 7 are not finite: nan at class 2\n"
    said = refused(capsys, save(logits=z, labels=np.full(3000, -100)))
    assert said == "sfumato: val.npz: every label is -100, which marks rows that do not count\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, p: 1 / (1 + np.exp(-z)), "by its sum, probs / probs.sum(axis=1, keepdims=True), or save logits\n"),
        (
            lambda z, p: 2 * p,
            "sum to 2, not 1; divide each row by its sum, probs / probs.sum(axis=1, keepdims=True), or say --kind "
            "logits (or logits=) if these are logits\n",
        ),
        (
            lambda z, p: np.where((np.arange(3000) == 1)[:, None] & (np.arange(6) == 1), -0.1, p),
            "negative in row 1: -0.1 at class 1; a probability is in [0, 1]: mend the row or leave it out",
        ),
    ],
    ids=["scores of one class against the rest", "twice the probabilities", "one negative number"],
)
def test_probabilities_that_are_off_are_not_said_to_look_like_logits(change, message, here, capsys):
    z, y = sample()
    np.savez("odd.npz", probs=change(z, softmax(z, axis=1)), labels=y)
    said = refused(capsys, "odd.npz")
    assert message in said
    assert "look like logits" not in said


def test_words_that_give_no_audit_are_answered_with_the_way_to_one(here, capsys):
    z, y = sample()
    np.save("z.npy", z)
    save("rows.npz", logits=z, labels=np.eye(6)[y])
    for words, message in (
        ([], "audit needs LOGITS: an .npz"),
        (["nowhere.npz"], 'there is no file "nowhere.npz"'),
        (["z.npy"], "z.npy has no labels; name a file of them with --labels"),
        (["rows.npz"], "labels must be class indices, (3000,), got shape (3000, 6); give labels.argmax(axis=-1)"),
        ([save(), "--kind", "probs"], "these look like logits: say --kind logits"),
    ):
        assert message in refused(capsys, *words)


def test_models_on_other_rows_are_not_compared(here, capsys):
    z, y = sample()
    save("a.npz")
    save("b.npz", logits=z[1:], labels=y[1:])
    assert "b.npz has 2999 rows and a.npz has 3000" in refused(capsys, "a.npz", "--against", "b.npz")
    save("c.npz", logits=z[::-1], labels=y[::-1])
    assert "c.npz and a.npz are not on the same rows: in row" in refused(capsys, "a.npz", "--against", "c.npz")
    save("d.npz", logits=z, labels=y[1:])
    assert "d.npz has 3000 rows of scores and 2999 labels" in refused(capsys, "a.npz", "--against", "d.npz")


def test_help_teaches_every_option_and_a_small_audit_loads_no_torch(here):
    ran = run_sfumato("audit", "--help", folder=here)
    for option in ("--labels", "--kind", "--rows", "--against", "--out", "--strict", "--json"):
        assert option in ran.out
    save()
    code = (
        "import sys\nfrom sfumato.cli import main\nassert main(['audit', 'val.npz']) == 0\n"
        "loaded = {'torch', 'matplotlib.pyplot', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 0, done.stderr


def test_the_files_are_named_after_the_input_and_no_audit_is_lost(here, capsys):
    run(capsys, save())
    run(capsys, "val.npz")  # the same audit has the same bytes
    names = ["val-audit.html", "val-audit.json"]
    assert sorted(path.name for path in here.iterdir() if "audit" in path.name) == names
    first = (here / "val-audit.json").read_bytes()
    _, out, _ = run(capsys, "val.npz", "--rows", "train")
    assert out.rstrip().endswith("wrote val-audit-2.html and val-audit-2.json")
    assert (here / "val-audit.json").read_bytes() == first
    assert json.loads((here / "val-audit-2.json").read_text(encoding="utf-8"))["assumed_rows"] == "train"


def test_a_file_of_another_kind_with_the_name_of_an_audit_is_left_alone(here, capsys):
    (here / "val-audit.json").write_bytes(b"\xff\xfe")
    assert run(capsys, save())[1].rstrip().endswith("wrote val-audit-2.html and val-audit-2.json")
    assert (here / "val-audit.json").read_bytes() == b"\xff\xfe"


def test_the_page_of_a_packed_table_is_named_without_its_endings(here, capsys):
    z, y = sample(n=300)
    np.savetxt("val.csv.gz", np.column_stack([z, y]), delimiter=",", header="0,1,2,3,4,5,label", comments="")
    assert run(capsys, "val.csv.gz")[1].rstrip().endswith("wrote val-audit.html and val-audit.json")


@pytest.mark.parametrize(
    ("probs", "said"),
    [
        (np.array([[50, 50], [20, 80]]), 'probs must be of a float type, got int64; give probs.astype("float32")'),
        (np.array([[0.5], [0.2]]), "probs must have at least 2 classes, got 1; of two classes give both, "
         "np.column_stack([1 - p, p])"),
        (np.array([0.5, 0.2]), "probs must be (N, K), one row of scores each, got shape (2,); of two classes give "
         "both, np.column_stack([1 - p, p])"),
        (np.ones((2, 3, 4)) / 4, "probs must be (N, K), one row of scores each, got shape (2, 3, 4); give each as "
         "rows, probs.reshape(-1, 4) and labels.reshape(-1)"),
    ],
)  # fmt: skip
def test_probabilities_of_another_type_or_shape_are_refused_in_a_sentence(probs, said, here, capsys):
    np.savez("odd.npz", probs=probs, labels=np.array([0, 1]))
    code, _, err = run(capsys, "odd.npz")
    assert (code, err) == (2, f"sfumato: odd.npz: {said}\n")


def test_a_margin_decides_whether_a_difference_matters_and_one_that_is_none_is_refused(here, capsys):
    z, y = sample()
    np.savez("b.npz", logits=z + np.random.default_rng(1).normal(size=z.shape) * 3, labels=y)
    words = [json.loads(run(capsys, save("a.npz"), "--against", "b.npz", "--json", *more)[1])["differences"]
             for more in ((), ("--margin", "accuracy=90,nll=900%,eaurc=900%"))]  # fmt: skip
    assert [{d["finding"] for d in told.values() if d["finding"]} for told in words] == [
        {"better"},
        {"slightly better"},
    ]
    code, _, err = run(capsys, "a.npz", "--against", "b.npz", "--margin", "nl=2%")
    assert (code, err.split(".")[0]) == (2, 'sfumato: --margin: "nl" has no margin: accuracy, nll and eaurc have one')


def test_a_folder_for_the_files_is_made(here, capsys):
    run(capsys, save(), "--out", "told/here")
    assert (here / "told" / "here" / "val-audit.html").exists()
    assert (here / "told" / "here" / "val-audit.json").read_text(encoding="utf-8").startswith('{"schema"')


def test_a_file_in_the_place_of_the_folder_is_named(here, capsys):
    (here / "val.csv").write_text("mine")
    assert "sfumato: val.csv is a file, not a folder\n" in refused(capsys, save(), "--out", "val.csv")
    assert (here / "val.csv").read_text() == "mine"


def test_a_reader_that_leaves_early_loses_neither_the_finding_nor_the_files(here):
    words = [sys.executable, "-m", "sfumato", "audit", save(), "--strict", "--out", "told"]
    audit = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=ELSEWHERE)
    audit.stdout.close()
    assert (audit.stderr.read(), audit.wait()) == (b"", 3)
    audit.stderr.close()
    assert sorted(path.name for path in (here / "told").iterdir()) == ["val-audit.html", "val-audit.json"]


def test_groups_are_counted_by_name_or_unasked_and_said(here, capsys):
    z, y = sample(n=400)
    np.savez("plain.npz", logits=z, labels=y, patient=np.arange(400) // 8)
    np.savez("grouped.npz", logits=z, labels=y, group=np.arange(400) // 8)
    told = [
        json.loads(run(capsys, *words, "--json")[1])
        for words in (["plain.npz"], ["plain.npz", "--group", "patient"], ["grouped.npz"])
    ]
    assert [each["groups"] for each in told] == [None, 50, 50]
    assert told[1]["metrics"] == told[2]["metrics"] != told[0]["metrics"]
    assert "400 rows of 6 classes in 50 groups, which the intervals count" in " ".join(
        run(capsys, "grouped.npz")[1].split()
    )
    code, _, err = run(capsys, "plain.npz", "--group", "doctor")
    assert code == 2
    assert 'plain.npz has no array or column "doctor", which --group names' in err
    assert run(capsys, "plain.npz", "--group", "patiens")[2].endswith('which --group names. Did you mean "patient"?\n')
