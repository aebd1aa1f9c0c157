"""``sf.judge``: the judgement of ``sfumato.verdict``, shown as its page."""

from __future__ import annotations

import html
import inspect
import re

import numpy as np
import pytest

import sfumato as sf
from sfumato.report.judge_page import page_of
from sfumato.verdict.judge import judge as without_page


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    return {name: [{"logits": np.eye(3)[y] + rng.normal(size=(300, 3)), "labels": y}] for name in ("hard", "soft")}


def test_a_notebook_shows_the_page_that_the_command_writes(arms):
    found = sf.judge(arms)
    (page,) = re.findall(r'srcdoc="([^"]*)"', found._repr_html_())
    assert html.unescape(page).replace('<base href="about:srcdoc">', "", 1) == page_of(found) == found.page()


def test_a_judgement_without_a_page_shows_its_sentences_and_differences(arms):
    found = without_page(arms)
    shown = found._repr_html_()
    assert found.page() is None
    assert [html.unescape(each) for each in re.findall("<p>(.*?)</p>", shown)] == str(found).splitlines()
    assert shown.count("<tr>") == 1 + sum(d["finding"] is not None for d in found.differences)


def test_it_takes_what_the_function_that_it_wraps_takes():
    assert inspect.signature(sf.judge) == inspect.signature(without_page)
