"""The result of a comparison or of a judgement in Python: it prints its sentences, and a notebook shows its page."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from sfumato.messages import Note, RunWarning
from sfumato.runs.schema import ArmDifference, Summary, VerdictSummary

_FRAME = '<iframe title="{title}" srcdoc="{page}" sandbox style="width:100%;height:44em;border:0"></iframe>'


@dataclass(repr=False)
class VerdictResult:
    """The result of :func:`sfumato.compare` or :func:`sfumato.judge`.

    Attributes:
        summary: the object that the command prints with ``--json``.
        notes: what else a reader should know, each with a code and a sentence.
    """

    summary: Summary
    notes: list[Note]

    @property
    def differences(self) -> list[ArmDifference]:
        """Every other arm minus the first, in every metric, with intervals."""
        return self.summary["differences"]

    @property
    def warnings(self) -> list[RunWarning]:
        """What should be looked at before the verdict is trusted."""
        return self.summary.get("warnings", [])

    @property
    def verdict(self) -> VerdictSummary:
        """The choice (an arm, ``"depends"`` or ``"none"``) and the sentences."""
        return self.summary["verdict"]

    def __repr__(self) -> str:
        arms = ", ".join(arm["name"] for arm in self.summary["arms"])
        return f"{type(self).__name__}({self.summary['run']!r}: {arms}; choice {self.verdict['choice']!r})"

    def __str__(self) -> str:
        """The sentences of the verdict, and before them the warnings that it does not repeat."""
        from sfumato.verdict.sentences import unsaid_warnings

        unsaid = (f"Warning: {text}" for text in unsaid_warnings(self.summary))
        return "\n".join([*unsaid, *self.verdict["sentences"]])

    def page(self) -> str | None:
        """The whole page as HTML; None where this result has none."""
        return None

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame of its own, or the sentences."""
        page = self.page()
        if page is not None:  # links within a page that stands in a frame lead out of it, unless it says what it is
            page = page.replace("<head>", '<head><base href="about:srcdoc">', 1)
            return _FRAME.format(title=html.escape(self.verdict["sentences"][0]), page=html.escape(page))
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_dict(self) -> Summary:
        """One JSON object, as the command prints it with ``--json``."""
        return self.summary

    def to_frame(self) -> Any:
        """The differences as a table of pandas: a row for each arm and metric, with the columns of the JSON.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(self.differences)
