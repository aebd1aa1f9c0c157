"""A judgement whose truth is soft: from arrays and files, matched, and equal to that of hard labels where one-hot."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

import sfumato as sf
from sfumato.evaluate.scores.model_file import model_of, read_model
from sfumato.messages import texts

RNG = np.random.default_rng(0)
N, K = 240, 4
Z = RNG.normal(size=(N, K))
VOTES = np.stack([RNG.multinomial(7, p) for p in softmax(Z, axis=1)])
VAL_VOTES = np.stack([RNG.multinomial(7, p) for p in softmax(Z, axis=1)])


def logits(strength, seed):
    return strength * (Z + np.random.default_rng(seed).normal(size=Z.shape) / 2)


def arms(truth, val=None, seeds=2, **more):
    """Two arms of so many models with this truth, and validation rows with that one."""
    return {
        name: [
            {
                "logits": logits(strength, seed),
                **truth,
                **({} if val is None else {"val_logits": logits(strength, 50 + seed), **val}),
                **more,
            }
            for seed in range(start, start + seeds)
        ]
        for name, strength, start in (("one-hot", 3.0, 0), ("soft", 1.0, 10))
    }


def differences(found):
    return {(d["metric"], d["arm"]): (d["mean"], d["low"], d["high"], d["finding"]) for d in found.differences}


@pytest.mark.parametrize("with_validation", [False, True])
def test_one_hot_soft_labels_give_the_judgement_of_hard_labels(with_validation):
    y, v = VOTES.argmax(axis=1), VAL_VOTES.argmax(axis=1)
    hard = sf.judge(arms({"labels": y}, {"val_labels": v} if with_validation else None))
    soft = sf.judge(
        arms(
            {"label_counts": 2 * np.eye(K, dtype=int)[y]},
            {"val_label_probs": np.eye(K)[v]} if with_validation else None,
        )
    )
    assert soft.verdict["choice"] == hard.verdict["choice"]
    found, truth = differences(soft), differences(hard)
    assert {metric for metric, _ in found.keys() - truth.keys()} == {"agreement", "kl", "kl_after_temperature"}
    for key, (*numbers, finding) in truth.items():
        assert found[key][:3] == pytest.approx(numbers, rel=1e-9, abs=1e-12), key
        assert found[key][3] == finding


def test_the_numbers_of_an_arm_are_cross_entropies_and_agreements():
    found = sf.judge(arms({"label_counts": VOTES}))
    q = VOTES / 7
    for result, strength, start in zip(found.arms, (3.0, 1.0), (0, 10), strict=True):
        scores = [logits(strength, seed) for seed in (start, start + 1)]
        nll = [-(q * log_softmax(z, axis=1)).sum(axis=1).mean() for z in scores]
        agreed = [q[np.arange(N), z.argmax(axis=1)].mean() for z in scores]
        assert result.metrics["nll"].by_model == pytest.approx(nll, abs=1e-12)
        assert result.metrics["agreement"].by_model == pytest.approx(agreed, abs=1e-12)


def test_temperatures_are_fitted_to_the_soft_labels_of_the_validation_rows():
    found = sf.judge(arms({"label_counts": VOTES}, {"val_label_counts": VAL_VOTES}))
    truth = sf.evaluate.evaluate(logits=logits(3.0, 50), label_counts=VAL_VOTES).temperature
    assert found.arms[0].temperatures[0].value == pytest.approx(truth, rel=1e-8)


@pytest.mark.parametrize(
    ("truth", "val", "words"),
    [
        ({"label_counts": VOTES}, {"val_label_counts": VAL_VOTES}, ""),
        ({"labels": VOTES.argmax(1)}, {"val_label_counts": VAL_VOTES}, "soft where those of the test rows are hard"),
        ({"label_counts": VOTES}, {"val_labels": VAL_VOTES.argmax(1)}, "hard where those of the test rows are soft"),
    ],
)
def test_the_notes_say_where_validation_rows_have_labels_of_another_kind(truth, val, words):
    more = f", whose labels are {words}" if words else ""
    assert f"Temperatures were fitted on {N} validation rows{more}." in texts(sf.judge(arms(truth, val)).notes)


def test_rows_without_annotators_do_not_count():
    votes, group = VOTES.copy(), np.arange(N) // 2
    votes[[0, 5]] = 0
    keep = votes.sum(axis=1) > 0
    less = {
        name: [{**model, "logits": model["logits"][keep]} for model in models]
        for name, models in arms({"label_counts": votes[keep]}, group=group[keep]).items()
    }
    found = sf.judge(arms({"label_counts": votes}, group=group))
    told, truth = found.to_dict(), sf.judge(less).to_dict()
    text = "Of model 0 of the arm one-hot, 2 rows without annotators do not count."
    left_out = {"code": "rows-ignored", "text": text}
    assert told["notes"] == [*truth["notes"][:2], left_out, *truth["notes"][2:]]
    assert (found.summary["data"]["test"], {**told, "notes": []}) == (N - 2, {**truth, "notes": []})


def test_rows_with_ids_are_matched_with_their_soft_labels():
    given = arms({"label_counts": VOTES}, id=np.arange(N))
    order = np.random.default_rng(3).permutation(N)
    moved = {"one-hot": given["one-hot"], "soft": [{k: v[order] for k, v in m.items()} for m in given["soft"]]}
    found = sf.judge(moved)
    for result, truth in zip(found.arms, sf.judge(given).arms, strict=True):
        assert result.metrics["nll"].by_model == pytest.approx(truth.metrics["nll"].by_model, rel=1e-12)


def test_sequences_with_soft_labels_are_rows():
    z, votes = Z.reshape(60, 4, K), VOTES.reshape(60, 4, K)
    model = model_of({"logits": z, "label_counts": votes}, "m")
    assert model.test.soft is not None
    assert np.array_equal(model.test.soft.block(slice(None)), VOTES / 7)
    assert model.test.group.tolist() == np.repeat(np.arange(60), 4).tolist()


def test_labels_beside_soft_ones_are_told_to_be_not_read():
    model = model_of({"logits": Z, "label_counts": VOTES, "labels": np.zeros(N, int)}, "m")
    assert model.test.labels.tolist() == VOTES.argmax(axis=1).tolist()
    assert texts(model.notes) == (
        'In m, the labels are those of "label_counts", and "labels" beside them is not read.',
    )


@pytest.mark.parametrize("what", ["label_counts", "val_label_counts"])
def test_other_soft_labels_are_refused_with_file_and_row(what, tmp_path):
    for arm, seed in (("one-hot", 0), ("soft", 0)):
        votes = {"label_counts": VOTES.copy(), "val_label_counts": VAL_VOTES.copy()}
        if arm == "soft":
            votes[what][41] = [0, 0, 0, 9]
        sf.save_scores(tmp_path, arm=arm, seed=seed, logits=logits(1.0, seed), val_logits=logits(2.0, 9), **votes)
    said = r"soft/0\.npz .*: the soft labels of row 41 are \(0, 0, 0, 1\) in the one and \(.*\) in the other"
    with pytest.raises(ValueError, match=said):
        sf.judge(tmp_path)


def test_soft_labels_in_some_models_alone_are_refused():
    given = arms({"label_counts": VOTES})
    given["soft"][1] = {"logits": logits(1.0, 77), "labels": VOTES.argmax(axis=1)}
    with pytest.raises(ValueError, match="has soft labels and model 1 of the arm soft has none; add them to all"):
        sf.judge(given)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": Z, "label_counts": VOTES - 1}, "m: label_counts in row 0 have -1 for class"),
        ({"logits": Z, "label_probs": VOTES}, "m: label_probs in row 0 sum to 7, not to 1; for counts"),
        ({"logits": Z, "label_counts": VOTES[:9]}, r"m: label_counts must have the shape of the scores, \(240, 4\)"),
        (
            {"logits": Z, "label_counts": VOTES, "label_probs": VOTES / 7},
            "m has label_probs and label_counts; keep one",
        ),
        (
            {"logits": Z, "label_counts": VOTES, "val_logits": Z, "val_label_probs": VOTES},
            "m: val_label_probs in row 0 sum to 7",
        ),
        ({"logits": Z, "label_counts": VOTES, "val_label_counts": VOTES}, "m has val_label_counts but no val_logits"),
    ],
)
def test_soft_labels_that_cannot_be_used_are_refused_by_name(arrays, message):
    with pytest.raises(ValueError, match=message):
        model_of(arrays, "m")


def test_what_save_scores_writes_is_read_back(tmp_path):
    path = sf.save_scores(
        tmp_path, arm="a", seed=1, logits=Z, label_counts=VOTES, val_logits=Z[:9], val_label_probs=VOTES[:9] / 7
    )
    model = read_model(path)
    assert np.array_equal(model.test.soft.block(slice(None)), VOTES / 7)
    assert model.validation.soft.block(slice(None)) == pytest.approx(VOTES[:9] / 7, abs=1e-15)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give exactly one of labels, label_probs, label_counts"),
        ({"labels": [0], "label_counts": [[1, 0]]}, "give exactly one of labels, label_probs, label_counts"),
        (
            {"labels": [0], "val_labels": [0], "val_label_probs": [[1, 0]]},
            "give at most one of val_labels, val_label_probs, val_label_counts",
        ),
    ],
)
def test_save_scores_takes_one_truth_and_writes_nothing_else(more, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        sf.save_scores(tmp_path, arm="a", seed=1, logits=[[1.0, 0.0]], **more)
    assert list(tmp_path.iterdir()) == []


def test_the_sentences_speak_of_agreement_and_the_notes_say_what_soft_labels_do():
    found = sf.judge(arms({"label_counts": VOTES}, {"val_label_counts": VAL_VOTES}))
    assert any(
        note.startswith("The labels are soft: the log loss (NLL) is the cross entropy") for note in texts(found.notes)
    )
    assert "(confidence − agreement " in found.verdict["sentences"][-1] + found.verdict["sentences"][-2]


@pytest.mark.parametrize("soft", [False, True])
def test_an_answer_without_a_model_is_the_mean_label(soft):
    found = sf.judge(arms({"label_counts": VOTES} if soft else {"labels": VOTES.argmax(axis=1)}))
    truth = VOTES / 7 if soft else np.eye(K)[VOTES.argmax(axis=1)]
    assert found.arms[0].shares.mean == pytest.approx(entropy(truth.mean(axis=0)))
    assert found.arms[0].majority.mean == np.bincount(VOTES.argmax(axis=1)).max() / N
