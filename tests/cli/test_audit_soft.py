"""``sfumato audit`` of files with soft labels, as a user calls it."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from sfumato.cli import OK, USAGE, main

Z = np.random.default_rng(0).normal(size=(400, 4))
VOTES = np.stack([np.random.default_rng(i).multinomial(9, p) for i, p in enumerate(softmax(Z, axis=1))])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("soft.npz", logits=3 * Z, label_counts=VOTES)
    np.savez("scores.npz", logits=3 * Z)
    np.savez("votes.npz", label_counts=VOTES)


def test_the_letter_shows_divergence_and_agreement_and_says_what_soft_labels_do(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # so that no name of the table is wrapped
    assert main(["audit", "soft.npz"]) == OK
    said = " ".join(capsys.readouterr().out.split())
    assert "and it agrees with" in said
    assert "of the annotators" in said
    assert "The labels are soft: the log loss (NLL) is the cross entropy to them" in said
    for label in (
        "divergence from the soft labels (KL), nats",
        "agreement with the annotators",
        "confidence − agreement",
    ):
        assert label in said
    assert "confidence − accuracy" not in said


def test_the_page_calls_what_confidence_should_match_agreement():
    main(["audit", "soft.npz"])
    with open("soft-audit.html", encoding="utf-8") as file:
        page = file.read()
    assert "Does confidence match agreement?" in page
    assert "Does confidence match accuracy?" not in page


def test_labels_may_come_from_another_file(capsys):
    assert main(["audit", "scores.npz", "--labels", "votes.npz", "--json"]) == OK
    own = json.loads(capsys.readouterr().out)
    assert main(["audit", "soft.npz", "--json"]) == OK
    assert own["metrics"] == json.loads(capsys.readouterr().out)["metrics"]


def test_the_differences_to_another_model_are_against_the_soft_labels(capsys):
    np.savez("other.npz", logits=Z, label_counts=VOTES)
    assert main(["audit", "soft.npz", "--against", "other.npz", "--json"]) == OK
    found = json.loads(capsys.readouterr().out)["differences"]
    q = VOTES / 9
    truth = [-(q * np.log(softmax(s * Z, axis=1))).sum(axis=1).mean() for s in (3, 1)]
    assert found["nll"]["value"] == pytest.approx(truth[0] - truth[1], abs=1e-12)


def test_a_model_with_labels_of_another_kind_is_compared_against_those_of_the_first(capsys):
    np.savez("hard.npz", logits=Z, labels=VOTES.argmax(axis=1))
    for first, other, kind in (("soft", "hard", "soft"), ("hard", "soft", "hard")):
        assert main(["audit", f"{first}.npz", "--against", f"{other}.npz"]) == OK
        said = " ".join(capsys.readouterr().out.split())
        assert f"Compared with {other}.npz on the same rows, both against the {kind} labels of {first}.npz." in said


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"label_probs": np.where(np.arange(400)[:, None] == 5, 0, VOTES / 9)},
            "bad.npz: label_probs in row 5 sum to 0, not to 1; leave the row out, or use label_counts, of which a row "
            "of zeros does not count",
        ),
        ({"label_counts": VOTES[:, :3]}, r"label_counts must be (400, 4), one number per row and class of logits"),
        ({"label_counts": VOTES[:7]}, "bad.npz has 400 rows of scores and 7 labels; they must be as many"),
        ({"label_counts": -VOTES}, "label_counts in row 0 have -"),
    ],
)
def test_soft_labels_that_do_not_fit_are_refused(arrays, message, capsys):
    np.savez("bad.npz", logits=Z, **arrays)
    assert main(["audit", "bad.npz"]) == USAGE
    assert message in capsys.readouterr().err


def test_another_model_on_other_rows_is_refused_with_the_row(capsys):
    votes = VOTES.copy()
    votes[12] = [9, 0, 0, 0]
    np.savez("other.npz", logits=Z, label_counts=votes)
    assert main(["audit", "soft.npz", "--against", "other.npz"]) == USAGE
    assert (
        "other.npz and soft.npz are not on the same rows: in row 12 the soft labels differ" in capsys.readouterr().err
    )
