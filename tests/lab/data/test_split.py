"""Splitting by content and standardising by the training rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfumato import messages
from sfumato.lab.data import DataError, Numbers, Roles, Table, load, prepare, split
from sfumato.lab.data.table import hash_rows
from tests.limits import examples

PARTS = ("train", "validation", "test")


def table(features, labels, **changes):
    features = np.array(features, np.float64)
    if features.ndim == 1:
        features = features[:, None]
    names = tuple(str(k) for k in range(int(np.max(labels)) + 1))
    columns = Numbers(features, tuple(f"c{j}" for j in range(features.shape[1])), features.shape[1:])
    return Table("made", "csv", columns, np.array(labels, np.int64), names, **changes)


@st.composite
def tables(draw):
    """Few distinct values, so that rows repeat and labels disagree."""
    rows = draw(st.integers(6, 60))
    features = draw(hnp.arrays(np.float64, (rows, 2), elements=st.sampled_from([-0.0, 0.0, 1.0, 2.5, -7.0])))
    return table(features, draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 2))))


def outcome(made):
    try:
        return split(made)
    except DataError as error:
        return str(error)


def write_csv(path, features, labels):
    lines = [",".join([*(f"c{j}" for j in range(features.shape[1])), "label"])]
    lines += [",".join([*map(repr, row), f"k{label}"]) for row, label in zip(features.tolist(), labels, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@given(tables())
@examples(200)
def test_a_split_puts_each_row_once_each_class_everywhere_and_equal_rows_on_one_side(made):
    try:
        parts = split(made)
    except DataError:
        return
    rows = [getattr(parts, part) for part in PARTS]
    assert sorted(np.concatenate(rows)) == list(range(len(made.labels)))
    contents = [{tuple(row) for row in made.features.values[r].tolist()} for r in rows]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]
    for r in rows:
        assert set(made.labels[r]) == set(range(len(made.class_names)))
    assert parts.duplicates == len(made.labels) - len(set().union(*contents))


@given(tables(), st.randoms(use_true_random=False))
def test_shuffling_rows_changes_no_part(made, random):
    order = list(range(len(made.labels)))
    random.shuffle(order)
    shuffled = table(made.features.values[order], made.labels[order])
    one, two = outcome(made), outcome(shuffled)
    if isinstance(one, str) or isinstance(two, str):
        assert one == two
        return
    for part in PARTS:
        one_rows, two_rows = getattr(one, part), getattr(two, part)
        assert np.array_equal(made.features.values[one_rows], shuffled.features.values[two_rows])
        assert np.array_equal(made.labels[one_rows], shuffled.labels[two_rows])


@given(st.lists(st.integers(3, 40), min_size=2, max_size=6))
def test_without_duplicates_every_class_is_within_one_row_of_its_share(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = split(table(np.arange(len(labels)), labels))
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        got = np.bincount(labels[getattr(parts, part)], minlength=len(counts))
        assert (np.abs(got - share * np.array(counts)) <= 1).all()


@pytest.mark.parametrize(
    ("sizes", "parts"), [([5, 5, 5], [5, 5, 5]), ([6, 2, 2], [6, 2, 2]), ([2, 2, 1], [2, 2, 1]), ([9, 1, 1], [9, 1, 1])]
)
def test_duplicated_rows_go_where_they_fit_best(sizes, parts):
    features = [*np.repeat([1, 2, 3], sizes), 4, 5, 6]
    made = table(features, [*np.zeros(sum(sizes)), 1, 1, 1])
    chosen = split(made)
    assert [int(np.sum(made.labels[getattr(chosen, part)] == 0)) for part in PARTS] == parts
    assert chosen.duplicates == sum(sizes) - 3


def test_a_class_that_is_nowhere_the_majority_is_still_in_every_part():
    features = np.repeat(np.arange(9), 10)
    labels = np.where(np.arange(90) % 10 == 0, np.arange(90) < 30, 0)  # one row of ten, in three of nine groups
    parts = split(table(features, labels))
    for part in PARTS:
        assert set(labels[getattr(parts, part)]) == {0, 1}


def test_a_split_is_ordered_by_hash_and_then_by_label():
    made = table([3, 3, 1, 2, 4, 5, 6, 7], [1, 0, 0, 0, 0, 1, 1, 1])
    keys = [(hash_rows(made.features.values)[i].tolist(), made.labels[i]) for i in range(8)]
    parts = split(made)
    for part in PARTS:
        ordered = [keys[i] for i in getattr(parts, part)]
        assert ordered == sorted(ordered)


@pytest.mark.parametrize("shares", [(0, 0.2), (0.5, 0.5), (0.2, -0.1), (float("nan"), 0.2)])
def test_shares_that_leave_a_part_empty_are_refused(shares):
    with pytest.raises(ValueError, match=r"^validation and test must be above 0 and leave rows to train on, got "):
        split(load("digits"), validation=shares[0], test=shares[1])


def test_a_class_of_fewer_than_three_distinct_rows_is_refused():
    with pytest.raises(DataError, match='^made: class "1" has 4 rows, 2 of them distinct; each class needs'):
        split(table([1, 2, 3, 4, 4, 5, 5], [0, 0, 0, 1, 1, 1, 1]))


def test_classes_that_share_too_many_rows_are_refused():
    # Each class lacks one of four distinct rows, so two rows in one part leave two parts of a single row each, and the
    # class that lacks that row is left out of its part.
    with pytest.raises(DataError, match=r'^made: class "\d" shares so many of its rows with other classes that it'):
        split(table([1, 2, 3, 1, 2, 4, 1, 3, 4, 2, 3, 4], np.repeat([0, 1, 2, 3], 3)))


def test_rows_of_a_file_in_another_order_give_the_same_bits(tmp_path):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, 3)).round(1)
    features[:40] = features[40:80]
    labels = rng.integers(0, 3, 300)
    order = rng.permutation(300)
    one = prepare(write_csv(tmp_path / "one.csv", features, labels))
    two = prepare(write_csv(tmp_path / "two.csv", features[order], labels[order]))
    assert one.fingerprint == two.fingerprint
    assert one.split.duplicates == two.split.duplicates >= 40
    for part in PARTS:
        for a, b in zip(one.arrays(part), two.arrays(part), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("change", ["feature", "label", "class name"])
def test_a_changed_feature_label_or_class_name_changes_the_fingerprint(tmp_path, change):
    features, labels = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    before = prepare(write_csv(tmp_path / "made.csv", features, labels)).fingerprint
    if change == "feature":
        features[7, 1] += 1e-9
    elif change == "label":
        labels[7] = 0
    else:
        labels[labels == 1] = 5
    assert prepare(write_csv(tmp_path / "made.csv", features, labels)).fingerprint != before


def _grouped_and_parted(path, group, part):
    """Thirty rows of three classes, with a group and a part each."""
    lines = [f"{i % 28},{i % 3},g{group[i]},{part[i]}" for i in range(30)]
    path.write_text("\n".join(["x,label,group,split", *lines]) + "\n")
    return str(path)


GROUPS, GIVEN = [i % 10 for i in range(30)], ["train"] * 12 + ["validation"] * 9 + ["test"] * 9


@pytest.mark.parametrize(
    ("roles", "group", "part"),
    [
        (Roles(group="group", drop=("split",)), [i // 3 for i in range(30)], GIVEN),
        (Roles(split="split", drop=("group",)), GROUPS, ["train"] * 12 + ["test"] * 9 + ["validation"] * 9),
    ],
    ids=["groups", "parts"],
)
def test_other_groups_or_parts_change_the_fingerprint(tmp_path, roles, group, part):
    one = prepare(_grouped_and_parted(tmp_path / "one.csv", GROUPS, GIVEN), roles)
    other = prepare(_grouped_and_parted(tmp_path / "other.csv", group, part), roles)
    assert one.fingerprint != other.fingerprint


def test_other_names_of_groups_and_another_order_of_rows_leave_the_fingerprint(tmp_path):
    roles = Roles(group="group", split="split")
    one = prepare(_grouped_and_parted(tmp_path / "one.csv", GROUPS, GIVEN), roles)
    renamed = _grouped_and_parted(tmp_path / "renamed.csv", [9 - group for group in GROUPS], GIVEN)
    assert prepare(renamed, roles).fingerprint == one.fingerprint
    header, *lines = (tmp_path / "one.csv").read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert prepare(str(tmp_path / "turned.csv"), roles).fingerprint == one.fingerprint


def parted(features, labels, parts, **changes):
    return table(features, labels, part=np.array([PARTS.index(part) for part in parts]), **changes)


def test_rows_of_a_group_are_one_cluster_and_rows_of_others_are_not():
    group = np.arange(60) // 4 * 1000 + 7  # numbers of groups may have gaps
    parts = split(table(np.arange(60), np.arange(60) % 2, group=group))
    clusters = [set(parts.cluster[group == each].tolist()) for each in np.unique(group)]
    assert all(len(each) == 1 for each in clusters)
    assert len(set().union(*clusters)) == 15


def test_groups_with_a_row_in_common_are_one_cluster_however_long_the_chain():
    features, group = [0, 1, 1, 2, 2, 3, *range(10, 40)], [0, 0, 1, 1, 2, 2, *range(10, 40)]
    parts = split(table(features, np.arange(36) % 2, group=np.array(group)))
    assert len(set(parts.cluster[:6].tolist())) == 1
    assert len(set(parts.cluster.tolist())) == 31


def test_a_cluster_is_numbered_by_the_first_content_in_it():
    made = table(np.arange(30), np.arange(30) % 2, group=np.arange(30) // 2)
    order = np.lexsort(hash_rows(made.features.values).T[::-1])
    rank = np.empty(30, int)
    rank[order] = np.arange(30)
    assert split(made).cluster.tolist() == np.repeat(rank.reshape(15, 2).min(1), 2).tolist()


def test_rows_are_counted_that_repeat_another_and_that_disagree_with_another():
    features, labels = [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9], [0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    parts = split(table(features, labels))
    assert (parts.duplicates, parts.disagreeing) == (4, 5)
    assert (parts.given, messages.texts(parts.notes), parts.shared, parts.across) == ((), (), 0, ())


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_what_one_class_leaves_over_goes_to_the_part_that_got_least_of_the_classes_before(classes):
    labels = np.repeat(np.arange(classes), 7)  # 7 rows are 4.2, 1.4 and 1.4: the last one goes to either
    parts = split(table(np.arange(len(labels)), labels))
    sizes = [len(getattr(parts, part)) for part in PARTS]
    assert sizes == [4 * classes, classes + (classes + 1) // 2, classes + classes // 2]


@pytest.mark.parametrize(
    ("features", "labels", "rows"),
    [([0, 1, 2, 3], [0, 1, 0, 1], "2 training rows"), ([0, 2], [0, 0], "1 training row")],
)
def test_training_rows_that_cannot_be_cut_in_two_are_refused(features, labels, rows):
    half = len(features) // 2
    with pytest.raises(DataError) as caught:
        split(parted(features, labels, ["train"] * half + ["test"] * half))
    assert str(caught.value).startswith(f"made: the {rows} cannot be cut in two for validation; give a")


def test_what_was_cut_for_validation_is_its_share_of_each_class_and_is_said():
    made = parted(np.arange(60), np.arange(60) % 2, ["train"] * 40 + ["test"] * 20)
    chosen = split(made, validation=0.25)
    assert np.bincount(made.labels[chosen.validation]).tolist() == [5, 5]
    assert messages.texts(chosen.notes) == ("Validation was cut from the training rows: 10 of 40, by content.",)
    assert chosen.given == ("train", "test")
    assert set(chosen.test) == set(range(40, 60))


def test_classes_that_a_given_part_lacks_are_counted_and_named():
    parts = ["train"] * 4 + ["validation"] * 3 + ["test"]
    assert messages.texts(split(parted(range(8), [0, 1, 2, 3, 0, 2, 3, 1], parts)).notes) == (
        'Class "1" is missing from validation: temperatures are fitted without it.',
        '3 classes, such as "0", are missing from test: metrics are measured without them.',
    )


WAY_OUT = "The parts are those given; drop the copies, or leave --split out."


@pytest.mark.parametrize(
    ("features", "shared", "across"),
    [
        ([0, 1, 2, 3, 4, 5], 0, ()),
        (
            [0, 1, 2, 3, 0, 1],
            2,
            (f"2 test rows are in training too, by content: scores on them flatter the models. {WAY_OUT}",),
        ),
        (
            [0, 1, 1, 3, 4, 5],
            1,
            (f"1 validation row is in training too, by content: scores on them flatter the models. {WAY_OUT}",),
        ),
        (
            [0, 1, 2, 3, 3, 5],
            0,
            (f"1 test row is in validation too, by content: temperatures were fitted on them. {WAY_OUT}",),
        ),
    ],
)
def test_rows_that_given_parts_share_are_counted_and_said(features, shared, across):
    parts = np.repeat(PARTS, 2)
    chosen = split(parted(features, [0, 1] * 3, parts))
    assert (chosen.shared, chosen.across) == (shared, across)


def test_groups_that_given_parts_share_are_said_after_the_rows():
    made = parted(range(6), [0, 1] * 3, np.repeat(PARTS, 2), group=np.array([0, 1, 2, 0, 2, 2]))
    chosen = split(made)
    assert chosen.shared == 0
    assert chosen.across == (
        "1 validation row shares its group with training rows: the parts given split groups.",
        "2 test rows share their group with validation rows: the parts given split groups.",
    )
