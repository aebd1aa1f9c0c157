"""The interactive page as it is before any script has run: its table, and the numbers that it opens at."""

from __future__ import annotations

import math
import re

import pytest

from sfumato.explain.page import page, write


def cells(text):
    text = text.partition('<table id="numbers">')[2].partition("</table>")[0]
    rows = re.findall(r'<tr[^>]*>\s*<th scope="row">(.*?)</th>(.*?)</tr>', text, re.DOTALL)
    return {name: [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", rest)] for name, rest in rows}


def test_the_table_has_the_closed_forms_of_both_conventions():
    found = cells(page(4, 0.2))
    assert found["target of the label"] == ["0.8", "0.85"]
    assert found["target of each other class"] == ["0.0666667", "0.05"]
    assert found["gap at the optimum, nats"] == [f"{math.log(12):.6g}", f"{math.log(17):.6g}"]
    floors = [-0.8 * math.log(0.8) - 0.2 * math.log(0.2 / 3), -0.85 * math.log(0.85) - 0.15 * math.log(0.05)]
    assert found["floor of the loss, nats"] == [f"{floor:.6g}" for floor in floors]


def test_what_is_infinite_and_what_is_negative_have_their_signs():
    assert cells(page(4, 0.0))["gap at the optimum, nats"] == ["∞", "∞"]
    assert cells(page(4, 0.9))["gap at the optimum, nats"][0] == f"−{-math.log(3 * 0.1 / 0.9):.6g}"


@pytest.mark.parametrize("eps", [0.1, 1e-8, 0.123456789])
def test_the_page_opens_at_the_strength_that_was_asked_for(eps):
    values = dict(re.findall(r'<input type="number" id="(\w+)"[^>]*\bvalue="([^"]*)"', page(7, eps)))
    assert {name: float(value) for name, value in values.items()} == {"k": 7, "eps": eps}


def test_a_page_has_up_to_a_million_classes(tmp_path):
    with pytest.raises(ValueError, match="the page shows up to 1000000 classes, got 1000001"):
        write(tmp_path / "page.html", 1_000_001, 0.1)
    assert list(tmp_path.iterdir()) == []
    path = write(str(tmp_path / "page.html"), 1_000_000, 0.1)
    assert path.read_text("utf-8") == page(1_000_000, 0.1)
