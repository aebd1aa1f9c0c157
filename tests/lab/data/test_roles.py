"""Which column is for what: the options as they are typed, the column of each role, and what is refused."""

import pytest

from sfumato.lab.data import DataError, Roles
from sfumato.lab.data.roles import assign
from tests.lab.data import refused

HEADER = ("age", "city", "p_a", "p_b", "Label", "w", "who", "part")


def refusal(header=HEADER, **roles):
    return refused(assign, "made.csv", header, Roles(**roles))


def assigned(header=HEADER, **roles):
    return assign("made.csv", header, Roles(**roles))


def test_options_are_told_as_they_are_typed_and_only_those_that_were_given():
    assert Roles().asked() == {}
    roles = Roles(label_probs=("p_a", "p_b"), drop=(), image_size=32, tokenizer="folder", weight="w")
    assert roles.asked() == {"--label-probs": "p_a,p_b", "--weight": "w", "--drop": "", "--image-size": "32"}


def test_of_the_options_only_those_that_are_named_are_refused():
    roles = Roles(weight="w", image_size=32)
    roles.refuse("made", "is for {file}", "--label", "--group")
    with pytest.raises(DataError, match=r'^--weight "w" is for made$'):
        roles.refuse("made", "is for {file}", "--label", "--weight")
    with pytest.raises(
        DataError, match=r'^--image-size "32" is for folders of images, and made is not one; leave it out$'
    ):
        roles.refuse_image_size("made")
    Roles(weight="w").refuse_image_size("made")


def test_each_column_has_the_role_that_was_asked_for_and_the_rest_is_learnt_from():
    found = assigned(weight="w", group="who", split="part", drop=("p_*", "p_a"), keep=("age", "a*"))
    assert (found.target, found.probs, found.texts) == (4, [], [])
    assert found.others == {"split": 7, "weight": 5, "group": 6}
    assert found.dropped == dict.fromkeys([2, 3], "left out by --drop")
    assert (found.keep, found.rest) == ({"age"}, [0, 1])


@pytest.mark.parametrize(
    ("roles", "target", "dropped", "rest"),
    [
        ({"label_probs": ("p_a", "p_b")}, None, {4: "left out: labels come from --label-probs"}, [0, 1, 5, 6, 7]),
        ({"label_probs": ("p_?",)}, None, {4: "left out: labels come from --label-probs"}, [0, 1, 5, 6, 7]),
        ({"label_probs": ("p_[ab]",), "label": "Label"}, 4, {}, [0, 1, 5, 6, 7]),
        ({"label_probs": ("p_?",), "group": "Label"}, None, {}, [0, 1, 5, 6, 7]),
        ({"label": "city"}, 1, {}, [0, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_hard_label_beside_soft_ones_is_no_feature(roles, target, dropped, rest):
    found = assigned(**roles)
    assert (found.target, found.dropped, found.rest) == (target, dropped, rest)
    assert found.probs == ([2, 3] if "label_probs" in roles else [])


@pytest.mark.parametrize(
    ("header", "text", "texts"),
    [
        (HEADER, "city", [1]),
        (HEADER, "who, city", [6, 1]),
        (("a,b", "a", "b", "y"), "a,b", [0]),  # a column may be called so
        (("a", "b", "y"), "a,b", [0, 1]),
    ],
)
def test_texts_are_one_column_or_several_with_commas_between(header, text, texts):
    assert assigned(header, text=text).texts == texts


def test_a_pattern_is_a_name_first_and_tells_capitals_apart():
    assert list(assigned(("a*", "ab", "y"), drop=("a*",)).dropped) == [0]
    assert list(assigned(("ab", "Ac", "ad", "y", "x"), drop=("a*",)).dropped) == [0, 2]
    assert refusal(drop=("q*",)).startswith('made.csv has no column like "q*". Columns: age, city, p_a,')
    assert refusal(drop=("cty",)).startswith('made.csv has no column "cty". Did you mean "city"? Columns: ')
    assert refusal(drop=("[xyz]",)).startswith('made.csv has no column like "[xyz]". ')


@pytest.mark.parametrize(
    ("header", "label"),
    [(("y", "CLASS", "Target", "x"), 2), (("y", "Class", "x"), 1), (("x", "Y"), 1), (("x", "label", "LABEL"), 1)],
)
def test_the_label_is_the_first_of_its_usual_names_that_there_is(header, label):
    assert assigned(header).target == label


TWICE = 'made.csv: column "{}" is asked for in two roles; choose one'


@pytest.mark.parametrize(
    ("roles", "column"),
    [
        ({"weight": "w", "group": "w"}, "w"),
        ({"label": "w", "text": "city,w"}, "w"),
        ({"text": "city,city"}, "city"),
        ({"label_probs": ("p_a", "p_*")}, "p_a"),
        ({"weight": "w", "drop": ("w",)}, "w"),
        ({"drop": ("Label",)}, "Label"),
        ({"drop": ("age",), "keep": ("a*",)}, "age"),
    ],
)
def test_a_column_in_two_roles_is_refused(roles, column):
    assert refusal(**roles) == TWICE.format(column)


@pytest.mark.parametrize(
    ("header", "roles", "told"),
    [
        (HEADER, {"label_probs": ("p_a",)},
         'made.csv: --label-probs names one column, "p_a"; it needs one per class, with commas between: p_0,p_1,p_2'),
        (HEADER, {"group": "wo"},
         'made.csv has no column "wo". Did you mean "who"? Columns: age, city, p_a, p_b, Label, w, who, part'),
        (("w", "y"), {"weight": "w"}, 'made.csv has no column but "w", "y"; add at least one column to learn from'),
        (("p0", "p1", "y"), {"label_probs": ("p?",)},
         'made.csv has no column but "p0", "p1", "y"; add at least one column to learn from'),
        (("x", "y"), {"drop": ("x",)},
         "made.csv: --drop leaves no column to learn from; leave at least one column out of --drop"),
        (("x",), {},
         'made.csv has one column only, "x"; it needs a column of labels and'),
        (("x", "z"), {},
         "made.csv has no column called label, target, class or y; name the label column with --label. Columns: x, z"),
    ],
)  # fmt: skip
def test_what_leaves_no_label_or_nothing_to_learn_from_is_refused(header, roles, told):
    assert refusal(header, **roles).startswith(told)
