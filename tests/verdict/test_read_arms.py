"""Which files and models belong to which arm, and what is refused of them."""

from __future__ import annotations

import os

import numpy as np
import pytest

import sfumato as sf
from sfumato.evaluate.scores.read_scores import FileError
from sfumato.messages import texts
from tests.verdict.models import LABELS, VALIDATION, arms, model, write


def test_a_model_twice_is_refused_by_path_and_by_bytes(tmp_path):
    write(tmp_path, hard=model(0), soft=model(1))
    (tmp_path / "hard" / "copy.npz").write_bytes((tmp_path / "hard" / "0.npz").read_bytes())
    with pytest.raises(FileError, match="0.npz and copy.npz are equal to the byte|copy.npz and 0.npz are equal"):
        sf.judge(tmp_path)
    path = str(tmp_path / "soft" / "0.npz")
    with pytest.raises(FileError, match="is given twice, for (soft|hard) and for soft; a model counts once"):
        sf.judge([f"hard={path}", f"soft={path}", f"soft={path}"])


def test_one_arm_and_no_base_and_unpaired_names_are_refused(tmp_path):
    write(tmp_path, a=model(0))
    with pytest.raises(FileError, match="a judgement needs two arms, and there is only a"):
        sf.judge(tmp_path)
    np.savez(tmp_path / "a" / "1.npz", **model(5))
    write(tmp_path, b=model(1))
    with pytest.raises(FileError, match=r"say --against ARM. Arms: a, b"):
        sf.judge(tmp_path)
    with pytest.raises(FileError, match='there is no arm "c"; arms: a, b'):
        sf.judge(tmp_path, against="c")
    with pytest.raises(FileError, match='a has "1" but b has not'):
        sf.judge(tmp_path, against="a", paired=True)
    words = [f"a={tmp_path}/a/?*.npz", f"b={tmp_path}/b/*.npz"]  # of two wild cards, neither is the name
    with pytest.raises(FileError, match='a has "1" but b has not'):
        sf.judge(words, against="a", paired=True)


def test_pairs_are_named_by_what_stands_for_the_star(tmp_path):
    for name, m in (("a_1", model(1)), ("a_0.5", model(2)), ("b_1", model(3, 2.4)), ("b_0.5", model(4, 2.4))):
        np.savez(tmp_path / f"{name}.npz", **m)
    words = [f"one-hot={tmp_path}/a_*.npz", f"smoothed={tmp_path}/b_*.npz"]
    found = sf.judge(words, paired=True)
    files = [[name.rpartition("_")[2] for name in arm["files"]] for arm in found.summary["arms"]]
    assert files == [["0.5.npz", "1.npz"]] * 2


def test_pairs_have_the_same_names_below_the_folder_in_which_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, m in (("a_0", model(1)), ("a_1", model(2)), ("b_0", model(3, 2.4)), ("b_1", model(4, 2.4))):
        np.savez(f"{name}.npz", **m)
    found = sf.judge(["one-hot=./a_*.npz", "smoothed=./b_*.npz"], paired=True)
    assert [len(arm["files"]) for arm in found.summary["arms"]] == [2, 2]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a", "b"), "^no arm is called one-hot, hard or baseline, so none is the one to compare with; say --against"),
        (("hard", "baseline"), "^2 arms could be the one to compare with; say --against ARM. Arms: hard, baseline$"),
    ],
)
def test_why_no_arm_is_the_base_is_said(names, said):
    with pytest.raises(FileError, match=said):
        sf.judge({name: [model(seed)] for seed, name in enumerate(names)})


def test_large_files_that_differ_in_the_middle_alone_are_two_models(tmp_path):
    (tmp_path / "hard").mkdir()
    rows = ["logit_0,logit_1,label", *["1.00000,2.00000,1", "2.50000,1.50000,0"] * 6000]
    for name in ("0", "1"):
        rows[6001] = f"1.0000{name},2.00000,1"
        (tmp_path / "hard" / f"{name}.csv").write_text("\n".join(rows) + "\n")
        os.utime(tmp_path / "hard" / f"{name}.csv", (1e9, 1e9))
    (tmp_path / "soft.csv").write_text("\n".join([*rows[:6001], "1.50000,2.00000,1", *rows[6002:]]) + "\n")
    found = sf.judge([f"hard={tmp_path}/hard/*.csv", f"soft={tmp_path}/soft.csv"])
    assert [len(arm["files"]) for arm in found.summary["arms"]] == [2, 1]


@pytest.mark.parametrize("word", ["scores_*.npz", "=a_*.npz", "smoothed=", "="])
def test_a_word_that_is_no_name_and_pattern_is_refused(word):
    with pytest.raises(FileError, match="is neither one folder nor NAME=PATTERN"):
        sf.judge([word, "smoothed=b_*.npz"])


@pytest.mark.parametrize("name", ["", " a", "a\n", ".a", "a/b", "a\\b"])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(FileError, match="is not a name for"):
        sf.judge({name: [model(0)], "soft": [model(1)]})


def test_a_name_that_is_too_long_for_a_file_is_refused():
    with pytest.raises(FileError, match="is too long a name for .*; at most 200 bytes"):
        sf.judge({101 * "ö": [model(0)], "soft": [model(1)]})
    with pytest.raises(FileError, match="at most 200 bytes"):
        sf.judge({201 * "o": [model(0)], "soft": [model(1)]})
    assert sf.judge({200 * "o": [model(0)], "soft": [model(1)]}, against="soft").arms[1].arm.name == 200 * "o"


def test_of_several_arms_the_first_is_the_one_that_others_are_matched_with():
    given = {"one-hot": [model(0), model(1)], "soft": [model(2), model(3)], "late": [model(4)]}
    with pytest.raises(FileError, match='one-hot has "1" but late has not'):
        sf.judge(given, paired=True)


def test_a_file_for_two_arms_is_refused(tmp_path):
    write(tmp_path, hard=model(0))
    path = tmp_path / "hard" / "0.npz"
    with pytest.raises(FileError, match="is given twice, for hard and for soft"):
        sf.judge({"hard": str(path), "soft": path})


@pytest.mark.parametrize("columns", [("fox", "cat", "dog", "emu"), ("cat", "dog", "emu", "owl")])
def test_tables_whose_classes_stand_in_another_order_are_refused(tmp_path, columns):
    for arm, names, seed in (("hard", ("cat", "dog", "emu", "fox"), 0), ("soft", columns, 1)):
        (tmp_path / arm).mkdir()
        rows = np.column_stack([model(seed)["logits"], LABELS])
        head = ",".join([*names, "label"])
        np.savetxt(tmp_path / arm / "0.csv", rows, delimiter=",", header=head, comments="", fmt=[*["%.6f"] * 4, "%d"])
    with pytest.raises(FileError, match=f"has the classes {', '.join(columns)} and .* has cat, dog, emu, fox"):
        sf.judge(tmp_path)


def test_ids_that_occur_twice_or_differ_are_named(tmp_path):
    ids = np.arange(600)
    with pytest.raises(FileError, match="id 5 occurs 2 times"):
        sf.judge({"hard": [model(0, id=np.where(ids == 6, 5, ids))], "soft": [model(1, id=ids)]})
    with pytest.raises(FileError, match="model 0 of the arm hard has id 0, and model 0 of the arm soft has no row"):
        sf.judge({"hard": [model(0, id=ids)], "soft": [model(1, id=ids + 1)]})
    other = np.where(ids == 6, (LABELS + 1) % 4, LABELS)
    with pytest.raises(FileError, match=f"the label of id 6 is {other[6]} in the one and {LABELS[6]} in the other"):
        sf.judge({"hard": [model(0, id=ids)], "soft": [model(1, id=ids) | {"labels": other}]})


def test_what_only_some_models_have_is_refused():
    for what in ("group", "id"):
        given = arms()
        for models in given.values():
            for m in models:
                m[what] = np.arange(600) // (5 if what == "group" else 1)
        del given["smoothed"][2][what]
        with pytest.raises(FileError, match=f'has an array "{what}" and model 2 of the arm smoothed has none'):
            sf.judge(given)


def test_one_model_in_two_forms_counts_once(tmp_path):
    given = arms()
    given["hard"] = given.pop("one-hot")
    given["hard"].append({**given["hard"][0], "logits": given["hard"][0]["logits"].astype(np.float32)})
    with pytest.raises(ValueError, match="model 0 of the arm hard and model 4 of the arm hard are one model"):
        sf.judge(given)


def test_ids_of_two_kinds_are_matched_as_text():
    order, of = np.random.default_rng(0).permutation(600), model(1)
    text = {"logits": of["logits"][order], "labels": LABELS[order], "id": order.astype(str), "group": order.astype(str)}
    given = {"hard": [model(0, id=np.arange(600), group=np.arange(600))], "soft": [text]}
    assert [d["mean"] for d in sf.judge(given).differences] == pytest.approx(
        [d["mean"] for d in sf.judge({"hard": [model(0)], "soft": [of]}).differences], rel=1e-12
    )


def test_two_rows_of_one_group_say_nothing_of_groups():
    given = {"logits": 3 * np.eye(2), "labels": [0, 1], "group": [7, 7]}
    with pytest.raises(FileError, match="all rows are of one group"):
        sf.judge({"hard": [given], "soft": [given]})


def test_a_group_of_one_value_and_a_group_that_is_not_there_are_refused():
    same = {"hard": [model(0, group=np.zeros(600))], "soft": [model(1, group=np.zeros(600))]}
    with pytest.raises(FileError, match="all rows are of one group"):
        sf.judge(same)
    with pytest.raises(FileError, match='has no array or column "patient"'):
        sf.judge({"hard": [model(0)], "soft": [model(1)]}, group="patient")


@pytest.mark.parametrize("kinds", [(int, int), (int, str), (str, str)])
def test_a_group_of_another_name_is_taken_in_all_models_and_one_called_group_is_not(kinds):
    of = [(np.arange(600) % 30).astype(kind) for kind in kinds]
    given = {"hard": [model(0, patient=of[0], group=np.arange(600))], "soft": [model(1, patient=of[1])]}
    assert sf.judge(given, group="patient").summary["data"]["groups"] == 30
    for spoiled, said in (
        (
            np.where(np.arange(600) == 7, 11, np.arange(600) % 30).astype(kinds[1]),
            "the group of row 7 is 11 in the one and 7 in the other",
        ),
        (None, 'has no array or column "patient", which --group names'),
    ):
        with pytest.raises(FileError, match=said):
            sf.judge({**given, "soft": [model(1, patient=spoiled)]}, group="patient")


def test_names_that_are_not_used_are_said():
    given = {"hard": [model(0, groups=np.arange(600))], "soft": [model(1)]}
    assert any("these were not used: groups" in note for note in texts(sf.judge(given).notes))


@pytest.mark.parametrize(
    ("arms", "more", "said"),
    [
        (3, {}, "arms must be a folder"),
        ({"hard": None, "soft": []}, {}, "a model of the arm hard must be"),
        ({"hard": [3], "soft": [3]}, {}, "a model of the arm hard must be"),
        ({"hard": "no/such*", "soft": "x"}, {}, "no file matches no/such"),
        ({"hard": [model(0)], "none": [model(1)]}, {}, 'an arm cannot be called "none"'),
        ({"hard": [model(0)], "soft": [model(1)]}, {"kind": "foo"}, "kind must be"),
        ({"hard": [model(0)], "soft": [model(1)]}, {"margins": {"f1": 2}}, '"f1" has no margin'),
        ({"hard": [{"logits": [[1.0, 3.0]], "labels": [0]}], "soft": [{"logits": [[1.0, 2.5]], "labels": [0]}]}, {},
         "^model 0 of the arm hard has 1 row that counts; a judgement needs more"),
    ],
)  # fmt: skip
def test_what_is_no_arm_is_said(arms, more, said):
    with pytest.raises(ValueError, match=said):
        sf.judge(arms, **more)


def test_ids_are_saved_and_match_rows_and_an_id_twice_is_refused(tmp_path):
    ids = np.arange(600)
    for seed, order in enumerate((ids, ids[::-1])):
        own = model(seed)
        sf.save_scores(
            tmp_path, arm=f"arm{seed}", seed=0, logits=own["logits"][order], labels=LABELS[order], id=ids[order]
        )
    found, direct = sf.judge(tmp_path, against="arm0"), sf.judge({"a": [model(0)], "b": [model(1)]}, against="a")
    assert [d["mean"] for d in found.differences] == pytest.approx([d["mean"] for d in direct.differences])
    assert (texts(found.notes)[1], texts(direct.notes)[1]) == (
        "Rows were matched by their ids.", "Rows were matched by their order, in which all labels agree."
    )  # fmt: skip
    with pytest.raises(ValueError, match="id must have a value of its own for each row"):
        sf.save_scores(tmp_path, arm="c", seed=0, logits=own["logits"], labels=LABELS, id=ids // 2)


def _counts_from(row, more=None):
    """A model whose first rows do not count, with ids in another order where ``more`` says so."""
    own = {**model(1), "labels": np.where(np.arange(600) < row, -100, LABELS)}
    return own if more is None else {name: values[more] for name, values in {**own, "id": np.arange(600)}.items()}


@pytest.mark.parametrize("order", [None, np.arange(600)[::-1]])
@pytest.mark.parametrize(("change", "said"), [
    (lambda m, row: {"logits": np.where(np.arange(600)[:, None] == row, np.nan, m["logits"])}, "logits in row {} are"),
    (lambda m, row: {"labels": np.where(np.arange(600) == row, 7, m["labels"])}, "label 7 in row {} is not a class"),
    (lambda m, row: {"logits": np.where(np.eye(4)[LABELS[::-1] if "id" in m else LABELS].astype(bool)
                                        & (np.arange(600) == row)[:, None], -np.inf, m["logits"])},
     "the label of row {} has probability 0"),
])  # fmt: skip
def test_a_row_is_named_by_its_place_in_its_file_whatever_was_left_out_or_moved(change, said, order):
    first, other = _counts_from(20, None if order is None else np.arange(600)), _counts_from(20, order)
    with pytest.raises(ValueError, match=said.format(50)):
        sf.judge({"hard": [first], "soft": [{**other, **change(other, 50)}]})


def test_rows_that_differ_are_named_as_each_file_numbers_them():
    first, other = _counts_from(20), _counts_from(20)
    other["labels"] = np.where(np.arange(600) == 50, (LABELS + 1) % 4, other["labels"])
    with pytest.raises(FileError, match="the label of row 50 is . in the one"):
        sf.judge({"hard": [first], "soft": [other]})
    cut = {name: values[20:] for name, values in other.items()}
    with pytest.raises(FileError, match="the label of row 30 or 50 is . in the one"):
        sf.judge({"hard": [first], "soft": [cut]})


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 row whose label is −100 does"), (3, "3 rows whose label is −100 do")]
)
def test_how_many_rows_do_not_count_is_a_note(count, told):
    found = sf.judge({"hard": [_counts_from(count)], "soft": [{**model(2), "labels": _counts_from(count)["labels"]}]})
    assert texts(found.notes)[2] == f"Of model 0 of the arm hard, {told} not count."


@pytest.mark.parametrize("ignored", [False, True])
def test_a_row_that_does_not_count_is_named_where_rows_are_missing(ignored):
    other = model(1)
    if ignored:
        other["labels"] = np.where(np.arange(600) == 17, -100, LABELS)
    else:
        other = {name: values[:599] for name, values in other.items()}
    with pytest.raises(FileError, match="has 599 rows and .* has 600") as caught:
        sf.judge({"hard": [model(0)], "soft": [other]})
    said = "(of model 0 of the arm soft, row 17 has the label −100 and does not count)"
    assert (said in str(caught.value)) == ignored


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: {"val_labels": np.r_[VALIDATION[:40], 3 - VALIDATION[40:]]},
            r"hard, from row 40 on \(300 and",
        ),
        (lambda m: {"val_labels": VALIDATION[:9], "val_logits": m["val_logits"][:9]}, r"of the arm hard \(9 and 300\)"),
        (lambda m: {"id": np.arange(600)}, 'has an array "id" and'),
    ],
)
def test_other_validation_rows_are_named(change, said):
    base, other = model(0, validation=True), model(1, validation=True)
    other |= change(other)
    with pytest.raises(FileError, match=said):
        sf.judge({"hard": [base], "soft": [other]})


def test_validation_rows_in_another_order_are_the_same_where_rows_have_ids():
    base, other = model(0, validation=True, id=np.arange(600)), model(1, validation=True, id=np.arange(600))
    other |= {"val_logits": other["val_logits"][::-1], "val_labels": VALIDATION[::-1]}
    assert sf.judge({"hard": [base], "soft": [other]}).summary["data"]["validation"] == 300
    other["val_labels"] = np.where(VALIDATION == 0, 1, VALIDATION)
    with pytest.raises(FileError, match=r"has other validation rows than model 0 of the arm hard \(300 and 300\)"):
        sf.judge({"hard": [base], "soft": [other]})


def test_soft_labels_of_validation_rows_are_there_in_all_models_or_in_none():
    base, other = model(0, validation=True), model(1, validation=True)
    other["val_label_probs"] = np.eye(4)[other.pop("val_labels")]
    with pytest.raises(FileError, match="^model 0 of the arm soft has soft labels of validation rows and model 0 of"):
        sf.judge({"hard": [base], "soft": [other]})


def test_of_a_folder_the_files_of_scores_alone_are_models(tmp_path):
    write(tmp_path, **{"one-hot": model(0), "soft": model(1)})
    (tmp_path / "soft" / "notes.txt").write_text("mine")
    (tmp_path / "soft" / "1.npz").mkdir()
    np.savez(tmp_path / "soft" / ".2.npz", **model(2))
    np.savez(tmp_path / "soft" / "3.NPZ.npz", **model(3))
    assert [len(arm["files"]) for arm in sf.judge(tmp_path).summary["arms"]] == [1, 2]


def test_two_files_of_one_name_cannot_be_paired(tmp_path):
    for folder, seed in (("a", 0), ("b", 1), ("c", 2), ("d", 3)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "0.npz", **model(seed))
    words = [f"one-hot={tmp_path}/a/0.npz", f"one-hot={tmp_path}/b/0.npz"]
    words += [f"soft={tmp_path}/c/0.npz", f"soft={tmp_path}/d/0.npz"]
    with pytest.raises(FileError, match="--paired matches files by name, and the arm one-hot has two of one name"):
        sf.judge(words, paired=True)
