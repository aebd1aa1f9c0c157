"""The verdict on models that were trained anywhere: numbers by hand, rows matched, words, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

import sfumato as sf
from sfumato.evaluate import Margins
from sfumato.evaluate.scores.read_scores import FileError
from sfumato.lab.options import Options, to_toml
from sfumato.messages import texts
from sfumato.runs.read import ReportError
from sfumato.text import number
from tests.report.run_folders import write_run
from tests.verdict.models import LABELS, SHARED, SHARED_VALIDATION, VALIDATION, arms, changed, model, write


def words(found):
    return {d["metric"]: d["finding"] for d in found.differences if d["finding"]}


def mean(found, arm, metric):
    (told,) = [each for each in found.to_dict()["arms"] if each["name"] == arm]
    return told["metrics"][metric]["mean"]


def test_means_are_those_of_a_computation_by_hand():
    given = arms(validation=True)
    found = sf.judge(given)
    for arm, models in given.items():
        accuracy = np.mean([(m["logits"].argmax(axis=1) == LABELS).mean() for m in models])
        assert mean(found, arm, "accuracy") == pytest.approx(accuracy, abs=1e-9)
        scaled = []
        for m in models:

            def loss(log_t, m=m):
                z = log_softmax(m["val_logits"] / np.exp(log_t), axis=1)
                return -z[np.arange(300), VALIDATION].mean()

            t = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
            scaled.append(-log_softmax(m["logits"] / t, axis=1)[np.arange(600), LABELS].mean())
        assert mean(found, arm, "nll_after_temperature") == pytest.approx(np.mean(scaled), abs=1e-6)
    assert words(found)["accuracy"] == "better"
    assert found.verdict["choice"] == "smoothed"
    start = "Take the smoothed models: they are better than the one-hot models"
    assert found.verdict["sentences"][0] == f"{start}; as trained, the order in log loss is the other way round."
    assert [each["code"] for each in found.warnings] == ["order-reversed"]


def test_seeds_of_their_own_have_the_interval_of_two_arms_and_pairs_that_of_differences():
    given = arms(validation=True)
    right = {arm: np.array([(m["logits"].argmax(axis=1) == LABELS) for m in each], dtype=float)
             for arm, each in given.items()}  # fmt: skip
    for paired in (False, True):
        (row,) = [d for d in sf.judge(given, paired=paired).differences if d["metric"] == "accuracy"]
        known = (
            sf.evaluate.estimate_interval(right["smoothed"] - right["one-hot"])
            if paired
            else sf.evaluate.estimate_unpaired(right["smoothed"], right["one-hot"])
        )
        assert (row["low"], row["high"]) == pytest.approx((known.low, known.high), rel=1e-12)


def test_two_equal_arms_are_equivalent_in_all_three_metrics():
    one = [model(seed) for seed in range(5)]
    found = sf.judge({"one-hot": one, "copy": [dict(m) for m in one]})
    assert words(found) == dict.fromkeys(("accuracy", "nll_after_temperature", "eaurc"), "equivalent")
    assert found.verdict["choice"] == "one-hot"


def test_without_validation_rows_temperatures_are_cross_fitted_and_that_is_said():
    given = arms()
    found = sf.judge(given)
    evaluated = [sf.evaluate.evaluate(logits=m["logits"], labels=LABELS) for m in given["smoothed"]]
    audited = np.mean([each.nll_after_temperature for each in evaluated])
    assert mean(found, "smoothed", "nll_after_temperature") == pytest.approx(audited, rel=1e-12)
    assert found.summary["data"]["validation"] is None
    assert any("no validation rows" in note for note in texts(found.notes))


def test_rows_are_matched_by_id():
    ids, rng = np.array([f"row {i}" for i in range(600)]), np.random.default_rng(1)
    given = arms()
    plain = sf.judge(given)
    for models in given.values():
        for m in models:
            order = rng.permutation(600)
            m |= {"logits": m["logits"][order], "labels": m["labels"][order], "id": ids[order]}
    found = sf.judge(given)
    assert [d["mean"] for d in found.differences] == pytest.approx([d["mean"] for d in plain.differences], rel=1e-9)
    assert words(found) == words(plain)


def test_what_would_settle_it_counts_groups_where_there_are_groups():
    rng, group = np.random.default_rng(5), np.arange(600) // 4
    given = {
        arm: [changed(model(s), logits=SHARED + own + 2.0 * np.eye(4)[LABELS] + 0.02 * rng.normal(size=(600, 4)),
                      group=group) for s in range(3)]
        for arm, own in (("one-hot", 0.0), ("smoothed", 0.1 * rng.normal(size=(600, 4))))
    }  # fmt: skip
    said = " ".join(sf.judge(given, margins="accuracy=0.01,nll=0.001,eaurc=0.000001").verdict["sentences"])
    assert "groups of test rows" in said
    assert " more test rows" not in said


def test_eight_copies_of_every_row_in_one_group_give_the_interval_of_the_rows():
    given = arms(validation=True)
    copied = {
        arm: [
            {**m, "logits": np.tile(m["logits"], (8, 1)), "labels": np.tile(LABELS, 8), "group": np.tile(range(600), 8)}
            for m in models
        ]
        for arm, models in given.items()
    }
    one, eight = sf.judge(given), sf.judge(copied)
    assert eight.summary["data"]["groups"] == 600
    for a, b in zip(one.differences, eight.differences, strict=True):
        if a["finding"]:
            assert b["high"] - b["low"] == pytest.approx(a["high"] - a["low"], rel=0.1)
            assert b["mean"] == pytest.approx(a["mean"], abs=0.02 * (a["high"] - a["low"]))


def test_copies_that_nobody_says_are_copies_make_an_interval_too_narrow():
    given = arms(seeds=1)
    copied = {
        arm: [{"logits": np.tile(m["logits"], (8, 1)), "labels": np.tile(LABELS, 8)} for m in models]
        for arm, models in given.items()
    }
    one, eight = ({d["metric"]: d["high"] - d["low"] for d in sf.judge(each).differences} for each in (given, copied))
    assert eight["accuracy"] == pytest.approx(one["accuracy"] / 8**0.5, rel=0.01)


def test_one_model_an_arm_is_about_these_models():
    found = sf.judge(arms(seeds=1))
    (row,) = [d for d in found.differences if d["metric"] == "accuracy"]
    right = [(m[0]["logits"].argmax(axis=1) == LABELS).astype(float) for m in arms(seeds=1).values()]
    known = sf.evaluate.estimate_interval((right[1] - right[0])[None, :])
    assert (row["low"], row["high"]) == pytest.approx((known.low, known.high), rel=1e-9)
    assert "models of other seeds may differ" in found.verdict["sentences"][-1]
    assert found.verdict["sentences"][0].startswith("Take the smoothed model: it is better than the one-hot model")


def test_one_model_against_several_is_about_that_model():
    given = arms(seeds=4)
    given["smoothed"] = given["smoothed"][:1]
    assert "There is one model of smoothed" in str(sf.judge(given))


def test_with_three_arms_all_are_compared_with_the_base_and_adjusted_together():
    given = {"a": [model(s + 200, 2.6) for s in range(3)], "hard": [model(s) for s in range(3)],
             "b": [model(s + 300, 2.9) for s in range(3)]}  # fmt: skip
    found = sf.judge(given)
    assert {(d["arm"], d["against"]) for d in found.differences} == {("a", "hard"), ("b", "hard")}
    assert found.verdict["choice"] == "b"
    assert any(
        line.startswith("The choice between b and a was made by the log loss of these rows")
        for line in found.verdict["sentences"]
    )
    raw = sf.evaluate.holm(
        [sf.evaluate.estimate_unpaired(
            *[np.array([m["logits"].argmax(axis=1) == LABELS for m in given[arm]], dtype=float) for arm in (x, "hard")]
         ).p for x in ("a", "b")])  # fmt: skip
    told = [d["p_adjusted"] for d in found.differences if d["metric"] == "accuracy"]
    assert all(mine >= least for mine, least in zip(told, raw, strict=True))  # six tests are adjusted, not two


def test_tokens_of_sequences_are_rows_of_a_group_and_ignored_labels_do_not_count():
    def tokens(seed, strength):
        rng = np.random.default_rng(seed)
        labels = np.random.default_rng(5).integers(0, 6, (40, 12))
        z = strength * np.eye(6)[labels] + rng.normal(size=(40, 12, 6))
        hidden = labels.copy()
        hidden[:, 9:] = -100
        return {"logits": z, "labels": hidden}, z[:, :9].argmax(axis=2) == labels[:, :9]

    first, right = tokens(1, 2.0)
    found = sf.judge({"hard": [first], "soft": [tokens(2, 2.5)[0]]})
    assert (found.summary["data"]["test"], found.summary["data"]["groups"]) == (360, 40)
    assert mean(found, "hard", "accuracy") == pytest.approx(right.mean(), abs=1e-12)


def test_probabilities_are_judged_like_the_logits_that_they_come_from():
    given = arms()
    probs = {
        arm: [{"probs": softmax(m["logits"], axis=1), "labels": LABELS} for m in models]
        for arm, models in given.items()
    }
    one, two = sf.judge(given), sf.judge(probs)
    for a, b in zip(one.differences, two.differences, strict=True):
        if a["metric"] == "accuracy" or a["metric"].startswith(("nll", "eaurc")):
            assert b["mean"] == pytest.approx(a["mean"], abs=2e-3)
    assert words(one) == words(two)


def test_the_head_and_its_inputs_stand_for_the_logits():
    rng = np.random.default_rng(3)
    features, weight, bias = rng.normal(size=(600, 5)), rng.normal(size=(4, 5)), rng.normal(size=4)
    labels = (features @ weight.T + bias + rng.gumbel(size=(600, 4))).argmax(axis=1)
    whole = {"logits": features @ weight.T + bias, "labels": labels}
    parts = {"features": features, "head_weight": weight, "head_bias": bias, "labels": labels}
    found = sf.judge({"hard": [whole], "head": [parts]})
    assert [d["mean"] for d in found.differences if d["finding"]] == pytest.approx([0.0] * 3, abs=1e-12)


def test_files_are_saved_whole_and_judged_from_their_folder(tmp_path):
    for arm, models in arms(validation=True, seeds=11).items():
        for seed, m in enumerate(models):
            sf.save_scores(tmp_path / "scores", arm=arm, seed=seed, **m)
    found = sf.judge(tmp_path / "scores")
    assert [name.rsplit("/", 1)[-1] for name in found.summary["arms"][0]["files"]] == [
        f"{seed}.npz" for seed in range(11)
    ]
    assert words(found) == words(sf.judge(arms(validation=True, seeds=11)))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (told["schema"], told["data"]["validation"], told["paired"]["equal"]) == ("sfumato.judge/3", 300, False)
    assert "&lt;table" in found._repr_html_()
    assert [line[:22] for line in str(found).splitlines()[:2]] == ["Warning: Temperature s", "Take the smoothed mode"]
    assert list(found.to_frame().columns[:2]) == ["metric", "arm"]


def test_a_csv_with_groups_and_ids_is_judged(tmp_path):
    for arm, strength in (("hard", 2.0), ("soft", 2.6)):
        (tmp_path / arm).mkdir()
        for seed in range(2):
            m = model(seed + 10 * len(arm), strength)
            lines = ["patient,id,logit_0,logit_1,logit_2,logit_3,label"]
            lines += [f"p{i % 60},r{i},{','.join(map(repr, map(float, z)))},{y}"
                      for i, (z, y) in enumerate(zip(m["logits"], LABELS, strict=True))]  # fmt: skip
            (tmp_path / arm / f"{seed}.csv").write_text("\n".join(lines) + "\n")
    found = sf.judge(tmp_path, group="patient")
    assert (found.summary["data"]["test"], found.summary["data"]["groups"]) == (600, 60)


FLAWS = {
    "other labels": (lambda m: changed(m, labels=(LABELS + (np.arange(600) == 17)) % 4), "the label of row 17 is"),
    "other rows": (lambda m: changed(m, logits=m["logits"][:500], labels=LABELS[:500]), "has 500 rows and"),
    "other classes": (lambda m: changed(m, logits=np.c_[m["logits"], m["logits"][:, 0]]), "has 5 classes and"),
    "validation in one": (
        lambda m: model(1, validation=True),
        r"smoothed/0.npz has validation rows \(val_logits\) and \S*one-hot/0.npz has none",
    ),
    "nan": (lambda m: changed(m, logits=np.where(np.arange(600)[:, None] == 3, np.nan, m["logits"])), "in row 3"),
    "sequences": (
        lambda m: changed(m, logits=m["logits"].reshape(300, 2, 4), labels=LABELS[:300]),
        r"shape \(300, 2\) or \(600,\)",
    ),
    "no labels": (lambda m: {"logits": m["logits"]}, "has no labels"),
    "no logits": (lambda m: {"labels": LABELS}, "has no logits"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_file_that_does_not_fit_is_named_with_its_row(tmp_path, flaw):
    spoil, said = FLAWS[flaw]
    spoiled = spoil(model(1))
    write(tmp_path, **{"one-hot": model(0), "smoothed": spoiled})
    with pytest.raises(ValueError, match=said) as caught:
        sf.judge(tmp_path)
    assert "0.npz" in str(caught.value)


@pytest.mark.parametrize("validation", [False, True])
def test_a_label_of_probability_zero_is_named(validation):
    spoiled = model(1, validation=validation)
    spoiled["logits"][9, LABELS[9]] = -np.inf
    with pytest.raises(ValueError, match="the label of row 9 has probability 0"):
        sf.judge({"hard": [model(0, validation=validation)], "soft": [spoiled]})


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ({"logits": np.full((600, 4), np.nan)}, "not finite"),
        ({"labels": LABELS[:10]}, "one per row of the scores"),
        ({"arm": "../up"}, "is not a name for an arm"),
        ({"seed": None}, "seed must be a number or a name"),
        ({"id": np.arange(600) // 2}, "id must have a value of its own for each row"),
        ({"group": [None] * 600}, "row 0 has no group"),
        ({"val_logits": SHARED_VALIDATION}, "val_logits but no val_labels"),
        ({"group": np.arange(3)}, "group must have one value per row"),
    ],
)
def test_scores_that_do_not_fit_are_not_saved(tmp_path, spoiled, said):
    with pytest.raises(ValueError, match=said):
        sf.save_scores(tmp_path / "scores", **{"arm": "hard", "seed": 0, **model(0), **spoiled})
    assert not (tmp_path / "scores").exists()


def test_saved_probabilities_are_judged_as_those_that_are_given(tmp_path):
    def models(of_arm):
        for m in of_arm:
            p = np.exp(m["logits"] - m["logits"].max(axis=1, keepdims=True))
            yield {"probs": p / p.sum(axis=1, keepdims=True), "labels": m["labels"]}

    given = {arm: list(models(each)) for arm, each in arms().items()}
    for arm, each in given.items():
        for seed, m in enumerate(each):
            sf.save_scores(tmp_path / "scores", arm=arm, seed=seed, **m)
    assert words(sf.judge(tmp_path / "scores")) == words(sf.judge(given))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "exactly one of logits, probs"),
        ({"logits": [[1.0, 0.0]], "probs": [[1.0, 0.0]]}, "exactly one of logits, probs"),
        (
            {"logits": [[2.0, 0.0]], "val_logits": [[2.0, 0.0]], "val_probs": [[1.0, 0.0]]},
            "at most one of val_logits, val_probs",
        ),
    ],
)
def test_scores_of_two_kinds_or_none_are_not_saved(tmp_path, more, said):
    with pytest.raises(TypeError, match=said):
        sf.save_scores(tmp_path / "scores", arm="hard", seed=0, labels=[0], **more)
    assert not (tmp_path / "scores").exists()


def test_bfloat16_tensors_are_saved(tmp_path):
    import torch

    z = torch.from_numpy(model(0)["logits"])
    path = sf.save_scores(tmp_path, arm="hard", seed="s1", logits=z.bfloat16(), labels=torch.from_numpy(LABELS))
    saved = np.load(path)
    assert saved["logits"].dtype == np.float32
    np.testing.assert_allclose(saved["logits"], z.numpy(), rtol=2**-8, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, pytest.param(5, marks=pytest.mark.nightly)])
def test_equal_arms_whose_seeds_are_their_own_are_told_apart_at_most_as_often_as_the_level_says(seeds):
    found, times = 0, 60
    for time in range(times):
        given = {arm: [model(1000 * time + 10 * place + s) for s in range(seeds)]
                 for place, arm in enumerate(("hard", "soft"))}  # fmt: skip
        found += any(
            word in ("better", "worse", "slightly better", "slightly worse") for word in words(sf.judge(given)).values()
        )
    assert found / times <= 0.05 + 2.5 * (0.05 * 0.95 / times) ** 0.5


def test_probabilities_are_never_taken_for_logits_nor_the_other_way_round():
    p = softmax(model(0)["logits"], axis=1)
    good = {"logits": model(1)["logits"], "labels": LABELS}
    for bad, said in (
        ({"logits": p}, "these look like probabilities, not logits"),
        ({"probs": 1.7 * p}, "sum to 1.7"),
        ({"probs": good["logits"]}, "probs are negative"),
    ):
        with pytest.raises(FileError, match=f"model 0 of the arm soft: .*{said}"):
            sf.judge({"hard": [good], "soft": [{**bad, "labels": LABELS}]})


def test_classes_that_are_ruled_out_leave_only_the_gap_out():
    given = arms()
    for models in given.values():
        for m in models:
            wrong = (LABELS + 1) % 4
            m["logits"][np.arange(50), wrong[:50]] = -np.inf
    found = sf.judge(given)
    assert {d["metric"] for d in found.differences} >= {"accuracy", "nll_after_temperature", "eaurc"}
    assert "logit_gap" not in {d["metric"] for d in found.differences}


def test_a_folder_is_judged_again_beside_its_own_judgement(tmp_path, monkeypatch, capsys):
    from sfumato.cli import main

    write(tmp_path, hard=model(0), soft=model(1))
    monkeypatch.chdir(tmp_path)
    assert main(["judge", "."]) == 0
    assert main(["judge", "."]) == 0


def test_models_are_not_paired_unless_it_is_said():
    assert not sf.judge({"hard": [model(0)], "soft": [model(1), model(2)]}).to_dict()["paired"]["equal"]


def test_a_run_of_a_comparison_is_judged_from_its_folder(tmp_path):
    run = write_run(tmp_path / "digits", seeds=3, epochs=2, test=300)
    found = sf.judge(run)
    assert (found.summary["paired"]["equal"], found.summary["data"]["test"]) == (True, 300)
    assert [each.arm.name for each in found.arms] == ["one-hot", "smoothed"]
    for more in ({"group": "patient"}, {"kind": "probs"}):
        with pytest.raises(ValueError, match="is the folder of a comparison, .* leave --group and --kind out"):
            sf.judge(run, **more)


@pytest.mark.parametrize(
    ("stored", "asked", "margins", "aim"),
    [
        ({}, {}, (0.005, 0.02), ""),
        ({"margin": "accuracy=3,nll=7%", "aim": "ranking"}, {}, (0.03, 0.07), ", for ranking"),
        ({"margin": "accuracy=3,nll=7%"}, {"margins": "accuracy=1", "aim": "accuracy"}, (0.01, 0.07), ", for accuracy"),
        ({"margin": "accuracy=3"}, {"margins": Margins()}, (0.005, 0.02), ""),
    ],
)
def test_a_run_is_judged_by_its_own_margins_and_for_what_it_was_run(tmp_path, stored, asked, margins, aim):
    run = write_run(tmp_path / "run", seeds=3, epochs=2, test=300)
    (run / "config.toml").write_text(to_toml(Options(data="digits", **stored), {}, {}), encoding="utf-8")
    found = sf.judge(run, **asked)
    rows = {each["metric"]: each["margin"] for each in found.differences}
    nll = rows["nll_after_temperature"] / found.arms[0].metrics["nll_after_temperature"].mean
    assert (rows["accuracy"], nll) == pytest.approx(margins)
    state = found.verdict["sentences"][0].partition(":")[0]
    assert state.partition(",")[1:] == (("," if aim else ""), aim.removeprefix(","))


@pytest.mark.parametrize("config", ['margin = "f1=2"', 'aim = "speed"', "margin = ", "aim = [1]"])
def test_a_run_whose_options_cannot_be_read_is_named(tmp_path, config):
    run = write_run(tmp_path / "run", seeds=3, epochs=2, test=300)
    (run / "config.toml").write_text(config, encoding="utf-8")
    with pytest.raises(ReportError, match=r"config\.toml: "):
        sf.judge(run)


@pytest.mark.parametrize("base", ["one-hot", "plain"])
def test_where_every_model_is_always_right_the_base_is_kept(base):
    found = sf.judge({base: [model(0, 50.0)], "smoothed": [model(1, 50.0)]}, against=base)
    assert f"If there is nothing, keep the {base} models; a harder test set" in found.verdict["sentences"][1]


def of_rows(rows, **more):
    return {"one-hot": [cut(model(0, **more), rows)], "smoothed": [cut(model(100, 2.6, **more), rows)]}


def cut(m, rows):
    return {name: values[:rows] for name, values in m.items()}


def test_one_row_is_no_judgement_and_few_rows_are_noted():
    with pytest.raises(ValueError, match="has 1 row that counts; a judgement needs more"):
        sf.judge(of_rows(1))
    few = "There are few test rows: intervals are wide, and other rows may say otherwise."
    assert [few in texts(sf.judge(of_rows(rows)).notes) for rows in (2, 49, 50)] == [True, True, False]


@pytest.mark.parametrize(("seeds", "said"), [(1, 0), (2, 1)])
def test_whose_the_seeds_are_is_said_where_there_are_several(seeds, said):
    assert (
        sum("seeds of each arm were taken as its own" in note for note in texts(sf.judge(arms(seeds=seeds)).notes))
        == said
    )
    paired = texts(sf.judge(arms(seeds=seeds), paired=True).notes)
    assert sum("Models of one name were taken as a pair" in note for note in paired) == said


def test_groups_are_noted():
    noted = "Rows of one group vary together: intervals count 100 groups, not rows."
    assert noted in texts(sf.judge(of_rows(400, group=np.arange(600) // 4)).notes)
    assert not any("group" in note for note in texts(sf.judge(of_rows(400)).notes))


def test_models_of_a_run_that_beat_the_commonest_answer_get_a_verdict(tmp_path):
    said = sf.judge(write_run(tmp_path / "run", seeds=3, epochs=1, test=300, noise=0.05)).verdict["sentences"]
    assert not said[0].startswith("Undecided: neither model is reliably better")
    chance = write_run(tmp_path / "chance", seeds=3, epochs=1, test=300, noise=50.0)
    assert sf.judge(chance).verdict["sentences"][0].startswith("Undecided: neither model is reliably better")


@pytest.mark.parametrize(("aim", "state"), [(None, "undecided"), ("accuracy", "switch"), ("probabilities", "keep")])
def test_what_the_models_are_for_decides_where_one_is_better_in_some_and_worse_in_other_things(aim, state):
    given = arms(seeds=4)
    for m in given["smoothed"]:  # over-confident on the rows where it errs: a larger log loss at every temperature
        wrong = m["logits"].argmax(axis=1) != LABELS
        m["logits"][wrong] *= 6
    found = sf.judge(given, aim=aim)
    assert words(found)["accuracy"] == "better"
    assert words(found)["nll_after_temperature"] == "worse"
    assert found.verdict["state"] == state
    p = {d["metric"]: d["p_adjusted"] for d in found.differences if d["p_adjusted"] is not None}
    if aim == "accuracy":
        assert p["accuracy"] == min(p.values())


def test_an_aim_that_is_none_is_named():
    with pytest.raises(ValueError, match=r'aim must be .*, got "acuracy". Did you mean "accuracy"\?'):
        sf.judge(arms(), aim="acuracy")


@pytest.mark.parametrize("more", [{}, {"group": np.arange(600) // 2}])
@pytest.mark.parametrize("alone", [False, True])
def test_copies_of_rows_are_noted_where_every_model_shows_them_and_no_groups_are_given(more, alone):
    given = arms(seeds=2, **more)
    doubled = [m for models in given.values() for m in models][: 1 if alone else None]
    for m in doubled:
        m["logits"] = m["logits"][np.where(np.arange(600) < 40, np.arange(600) // 2 * 2, np.arange(600))]
    notes = [note for note in texts(sf.judge(given).notes) if "scores of another row" in note]
    assert [note[:53] for note in notes] == (
        ["20 rows have the scores of another row in every model"] if not more and not alone else []
    )


@pytest.mark.parametrize(
    ("sizes", "noted", "warned"),
    [([12] * 50, False, False), ([12] * 49, True, False), ([30] * 20, True, False), ([31] * 19, True, True),
     ([5] * 80 + [200], False, True)],
)  # fmt: skip
def test_few_groups_are_noted_and_fewer_than_twenty_of_equal_size_are_warned_of(sizes, noted, warned):
    group = np.repeat(np.arange(len(sizes)), sizes)[:600]
    found = sf.judge(arms(seeds=2, group=np.pad(group, (0, 600 - len(group)), mode="edge")))
    assert [note["code"] for note in found.notes].count("few-test-rows") == noted
    assert [each["code"] for each in found.warnings].count("few-groups") == warned


@pytest.mark.parametrize(("base", "other"), [("one-hot", "smoothed"), ("smoothed", "one-hot")])
def test_an_order_that_temperature_reverses_is_said_with_its_numbers(base, other):
    found = sf.judge(arms(seeds=4), against=base)
    raw, scaled = ({arm: number(mean(found, arm, name)) for arm in (base, other)}
                   for name in ("nll", "nll_after_temperature"))  # fmt: skip
    (text,) = [each["text"] for each in found.warnings if each["code"] == "order-reversed"]
    assert f"as trained, one-hot is better than smoothed ({raw['one-hot']} against {raw['smoothed']})" in text
    assert f"smoothed is better than one-hot ({scaled['smoothed']} against {scaled['one-hot']})" in text
    same = {arm: [changed(m, logits=2 * m["logits"]) if arm == "smoothed" else m for m in models]
            for arm, models in arms(seeds=4).items()}  # fmt: skip
    assert sf.judge(same).warnings == []


RARE = {  # shares of the classes, strength of two arms, their bias, and whether they have a clue
    "weak": ([0.97, 0.03], (0.55, 0.85), 1, True),
    "weak, three classes": ([0.95, 0.03, 0.02], (0.5, 0.8), 1, True),
    "trained with class weights": ([0.97, 0.03], (0.7, 1.0), 0, True),
    "chance": ([0.97, 0.03], (0.0, 0.0), 1, False),
    "chance, four classes": ([0.91, 0.03, 0.03, 0.03], (0.0, 0.0), 1, False),
    "chance, trained with class weights": ([0.9, 0.1], (0.0, 0.0), 0, False),
    "worse than chance": ([0.97, 0.03], (-0.3, -0.2), 1, False),
}


@pytest.mark.parametrize("case", RARE)
@pytest.mark.parametrize("seeds", [1, 3])
def test_models_of_rare_events_are_worth_comparing_where_they_beat_an_answer_without_a_model(case, seeds):
    shares, strengths, bias, clue = RARE[case]
    rng = np.random.default_rng([len(case), seeds])
    y = rng.choice(len(shares), 6000, p=shares)
    common = rng.normal(size=(6000, len(shares)))

    def scores(strength):
        x = strength * np.eye(len(shares))[y] + 0.9 * common + 0.44 * rng.normal(size=common.shape)
        return {"logits": (abs(strength) or 0.1) * x + bias * np.log(shares), "labels": y}

    found = sf.judge({arm: [scores(strength) for _ in range(seeds)]
                      for arm, strength in zip(("hard", "soft"), strengths, strict=True)})  # fmt: skip
    assert ("nothing-to-decide" in [each["code"] for each in found.warnings]) == (not clue)


def test_arms_that_hold_the_same_models_are_noted():
    given = {"one-hot": [model(0), model(1)], "b": [model(2), model(3)], "c": [model(0), model(1)]}
    (told,) = [note for note in texts(sf.judge(given).notes) if "the same ones" in note]
    assert told == "The models of one-hot and c are the same ones: their log losses agree in every row."
