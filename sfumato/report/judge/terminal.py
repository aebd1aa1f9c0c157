"""A judgement as text: the verdict, how the files were taken, and the tables of a comparison."""

from __future__ import annotations

from sfumato.report.compare.tables import as_text, differences_table, four_columns
from sfumato.runs.schema import Summary
from sfumato.text import wrapped
from sfumato.verdict.judge import Judgement


def as_summary(found: Judgement) -> Summary:
    """What the tables of a comparison are made of; of the training nothing is known."""
    told = found.to_dict()
    rows = told["rows"]
    return {
        "schema": told["schema"],
        "run": told["name"],
        "data": {
            "name": told["name"],
            "classes": told["classes"],
            "train": 0,
            "validation": rows["validation"] or 0,
            "test": rows["test"],
        },
        "paired": {"weights": [], "batches": [], "equal": told["paired"]},
        "arms": [
            {
                "name": arm["name"],
                "eps": 0.0,
                "over": None,
                "closed_form_gap": None,
                "train_gap": None,
                "metrics": arm["metrics"],
            }
            for arm in told["arms"]
        ],
        "differences": told["differences"],
        "warnings": told["warnings"],
        "verdict": told["verdict"],
    }


def as_terminal(found: Judgement, width: int) -> str:
    """The judgement for a terminal of so many columns."""
    summary, said = as_summary(found), found.verdict["sentences"]
    warnings = [f"Warning: {each['text']}" for each in found.warnings if each["text"] not in said]
    lines = [wrapped(each, width, rest="  ") for each in [*warnings, *said]]
    notes = [wrapped(each, width, rest="  ") for each in found.notes]
    tables = [as_text(table, width).rstrip() for table in (four_columns(summary), differences_table(summary))]
    return "\n".join([*lines, "", *notes, "", tables[0], "", tables[1]])
