"""`sfumato explain --in … --to …`: one framework's strength in another's words."""

from __future__ import annotations

import json

import pytest

from sfumato import conventions
from tests.conftest import run_sfumato


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
