"""`sfumato explain --in … --to …`: one framework's strength in another's words."""

from __future__ import annotations

import json

import pytest

from sfumato import conventions
from tests.conftest import run_sfumato


def test_a_strength_is_told_in_another_framework(tmp_path):
    ran = run_sfumato("explain", "--eps", "0.1", "--in", "fairseq", "--to", "keras", folder=tmp_path)
    assert ran.code == 0, ran.err
    for text in (
        "0.1 in fairseq is 0.111111 in Keras, at K = 10 classes",
        "ε/(K−1) = 0.0111111 on each other class",
        "a row's loss is the same number in both",
        'in sfumato  label_smoothing=0.1, over="others"',
    ):
        assert text in ran.out


def test_the_json_has_the_conversion_beside_the_closed_forms(tmp_path):
    ran = run_sfumato("explain", "--in", "coincheung", "--to", "espnet", "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert list(told) == ["schema", "classes", "eps", "others", "all", "conversion"]
    c = conventions.convert(0.1, 10, frm="coincheung", to="espnet")
    assert told["conversion"] == {
        "in": "coincheung",
        "to": "espnet",
        "eps": c.to_eps,
        "target": list(conventions.others.target(c.to_eps, 10)),
        "loss": {"scale": c.scale, "offset": c.offset},
    }


def test_alone_in_tells_every_framework(tmp_path):
    ran = run_sfumato("explain", "--in", "fairseq", "--json", folder=tmp_path)
    told = json.loads(ran.out)["conversion"]
    assert set(told["to"]) == set(conventions.FORMULAS)
    assert told["to"]["keras.cat"] == pytest.approx(1 / 9)
    assert told["to"]["onmt2"] is None
    text = run_sfumato("explain", "--in", "fairseq", folder=tmp_path).out
    assert "0.111111    sfumato.all, torch.index" in text
    assert "cannot be   timm.soft" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--in", "fairsek", "--to", "keras"), 'no framework "fairsek" is known. Did you mean "fairseq"?'),
        (("--in", "fairseq", "--to", "kerras"), 'no framework "kerras" is known. Did you mean "keras.'),
        (("--to", "keras"), "--to keras needs --in: which framework is ε = 0.1 in?"),
        (("--in", "onmt", "--to", "torch"), "OpenNMT-py 2 cannot be converted to torch: one leaves the padding class"),
        (("--in", "fairseq", "--to", "torch", "--eps", "0.95"), "ε = 0.95 in fairseq cannot be torch's: at K = 10"),
        (("--in", "mbls"), "Margin-based label smoothing cannot be converted"),
        (("--in", "fairseq", "--eps", "2"), "--eps must be in [0, 1], got 2"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_usage_error(words, message, tmp_path):
    ran = run_sfumato("explain", *words, folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("sfumato: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
