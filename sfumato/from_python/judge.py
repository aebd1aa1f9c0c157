"""``sf.judge``: the judgement of ``sfumato.verdict``, with the way to its page."""

from __future__ import annotations

import functools
from typing import Any

from sfumato.extras import lab_imports

with lab_imports("judge"):
    from sfumato.verdict.judge import Judgement
    from sfumato.verdict.judge import judge as without_page


def _page(found: Judgement) -> str:
    from sfumato.report.judge_page import page_of

    return page_of(found)


@functools.wraps(without_page)
def judge(*args: Any, **given: Any) -> Judgement:  # noqa: D103  it is told by the function that it wraps
    found = without_page(*args, **given)
    found.to_page = _page
    return found
