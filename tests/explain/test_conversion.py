"""One framework's strength in another's words: the sentences, and the numbers in them by hand."""

from __future__ import annotations

import math

import pytest

from sfumato.conventions import FORMULAS, SPREADS
from sfumato.explain.text import conversion_dict, conversion_text, conversions_dict, conversions_text

ENTROPY = -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 9)  # of the target 0.1 over the others, at K = 10


def said(frm, to, eps=0.1, classes=10):
    """The lines by the word before them; the last of several."""
    lines = [line.partition("  ") for line in conversion_text(classes, eps, frm, to).splitlines()[2:]]
    return {first: rest.strip() for first, _, rest in lines}


@pytest.mark.parametrize(
    ("frm", "to", "line"),
    [
        ("fairseq", "keras", "a row's loss is the same number in both"),
        ("fairseq.logged", "fairseq", "a row's loss in fairseq is 0.693147 × that in fairseq's log"),
        ("t5x", "fairseq", f"a row's loss in fairseq is that in T5X + {ENTROPY:.6g}"),
        ("fairseq", "t5x", f"a row's loss in T5X is that in fairseq − {ENTROPY:.6g}"),
        ("coincheung", "espnet", "a row's loss in ESPnet is 1.0101 × that in CoinCheung pytorch-loss − 0.504384"),
    ],
)  # fmt: skip
def test_how_the_losses_are_related(frm, to, line):
    assert said(frm, to)["loss"] == line


@pytest.mark.parametrize(
    ("frm", "to", "line"),
    [
        ("fairseq", "keras", 'label_smoothing=0.1, over="others"'),
        ("torch", "keras", 'label_smoothing=0.1, over="all"'),
        ("classy", "torch", 'label_smoothing=0.0909091, over="all"'),
        ("coincheung", "espnet", 'label_smoothing=0.10101, over="all", times 0.99'),
        ("onmt2", "joeynmt", 'sf.smooth(labels, 10, 0.1, over="others", support=every class but padding)'),
        ("keras.bin", "smp.bce", "none: K sigmoids, and sfumato's loss is of one softmax"),
    ],
)
def test_the_same_target_in_sfumato(frm, to, line):
    assert said(frm, to)["in sfumato"] == line


def test_a_deficit_beyond_what_all_can_say_is_said_over_the_others():
    # (1−ε)/(1−ε/K) = 1/109 of the mass on the label at ε = 0.999, less than 1/K: none over all
    line = said("coincheung", "espnet", eps=0.999)["in sfumato"]
    mass = 1 - 0.999 / 10
    assert line == f'label_smoothing={0.0999 * 9 / mass:.6g}, over="others", times {mass:.6g}'


def test_the_pairs_stand_beside_their_formulas():
    lines = conversion_text(10, 0.1, "fairseq", "keras").splitlines()
    assert lines[0] == "0.1 in fairseq is 0.111111 in Keras, at K = 10 classes"
    assert lines[2] == "fairseq     1 − ε = 0.9 on the label, ε/(K−1) = 0.0111111 on each other class"
    assert lines[3] == "Keras       1 − ε + ε/K = 0.9 on the label, ε/K = 0.0111111 on each other class"
    assert {line[:12].strip() for line in lines[2:]} == {"fairseq", "Keras", "loss", "in sfumato", "mind"}


def test_what_is_wrong_with_either_framework_is_said():
    minds = [line for line in conversion_text(10, 0.1, "classy", "torch").splitlines() if line.startswith("mind")]
    assert [line.split("mind")[1].strip() for line in minds] == [
        f"ClassyVision: {FORMULAS['classy'].defect}", f"torch: {FORMULAS['torch.index'].defect}",
    ]  # fmt: skip
    assert "mind" not in conversion_text(10, 0.1, "fairseq", "t5x")


def test_the_object_for_json_has_strength_target_and_relation():
    told = conversion_dict(10, 0.1, "fairseq.logged", "torch")
    assert (told["classes"], told["eps"]) == (10, 0.1)
    found = told["conversion"]
    assert (found["in"], found["to"]) == ("fairseq.logged", "torch.index")
    assert found["eps"] == pytest.approx(1 / 9, rel=1e-12)
    assert found["target"] == pytest.approx([0.9, 0.1 / 9], rel=1e-12)
    assert found["loss"] == {"scale": pytest.approx(math.log(2), rel=1e-12), "offset": 0.0}


def test_every_framework_stands_once_under_its_strength():
    lines = conversions_text(10, 0.1, "fairseq").splitlines()
    assert lines[0] == "0.1 in fairseq, at K = 10 classes, is the same target as"
    rows, strength = {}, ""
    for line in lines[2:-2]:
        assert len(line) <= 100
        strength = line[2:14].strip() or strength
        rows.setdefault(strength, []).extend(name.strip() for name in line[14:].split(",") if name.strip())
    names = [name for row in rows.values() for name in row]
    assert sorted(names) == sorted(set(FORMULAS) - {"fairseq"})
    assert list(rows) == ["0.1", "0.10989", "0.111111", "0.125", "cannot be"]
    assert rows["0.10989"] == ["coincheung"]
    assert rows["0.125"] == ["mm.classy", "classy"]
    assert "onmt2" in rows["cannot be"]
    told = conversions_dict(10, 0.1, "fairseq")["conversion"]
    assert told["in"] == "fairseq"
    assert sorted(name for name, eps in told["to"].items() if eps is None) == sorted(rows["cannot be"])
    assert told["to"]["classy"] == pytest.approx(0.125, rel=1e-12)


def test_two_classes_without_smoothing_cannot_be_said_where_one_of_them_is_padding():
    told = conversions_dict(2, 0.0, "fairseq")["conversion"]["to"]
    needs_three = {key for key, formula in FORMULAS.items() if formula.convention is SPREADS["nopad"]}
    assert {key for key in needs_three if told[key] is not None} == set()
    assert (told["torch.index"], told["classy"]) == (0, 0)


@pytest.mark.parametrize("call", [conversions_text, conversions_dict])
@pytest.mark.parametrize(
    ("frm", "eps", "message"),
    [("mbls", 0.1, "cannot be converted"), ("fairseq", 1.5, "eps must be in"), ("fairsek", 0.1, "Did you mean")],
)
def test_what_has_no_strength_is_refused(call, frm, eps, message):
    with pytest.raises(ValueError, match=message):
        call(10, eps, frm)


@pytest.mark.parametrize("told", [conversion_text, conversions_text])
def test_a_narrow_terminal_is_shown_the_same_words_within_its_width(told):
    frameworks = ("fairseq", "keras")[: 2 if told is conversion_text else 1]
    narrow, wide = (told(10, 0.1, *frameworks, width=columns) for columns in (60, 200))
    assert max(map(len, wide.splitlines())) > 60 >= max(map(len, narrow.splitlines()))
    assert narrow.split() == wide.split()


def test_a_line_goes_on_below_its_words():
    text = conversion_text(10, 0.1, "fairseq", "keras", width=60)
    assert f"ε/(K−1) = 0.0111111 on\n{12 * ' '}each other class\n" in text
