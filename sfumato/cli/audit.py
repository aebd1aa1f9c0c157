"""``sfumato audit``: what saved logits give away."""

from __future__ import annotations

import itertools
import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sfumato.cli.common import FINDING, OK, FileName, Flag, UsageError, app, close_stdout, width
from sfumato.extras import require_lab
from sfumato.lab.options import schema
from sfumato.messages import texts
from sfumato.text import plural

if TYPE_CHECKING:
    from sfumato.evaluate.auditing.audit import Audit
    from sfumato.evaluate.scores.read_scores import ScoreFile


@app.command
def audit(
    logits: Annotated[FileName, Parameter(allow_leading_hyphen=True)],
    *,
    labels: FileName | None = None,
    kind: Literal["logits", "probs", "percent"] | None = None,
    rows: Literal["train", "heldout"] | None = None,
    against: FileName | None = None,
    margin: str | None = None,
    group: str | None = None,
    out: str = ".",
    strict: Flag = False,
    json: Flag = False,
) -> int:
    """Read a model off its saved logits: calibration, ranking, temperature, smoothing, and what to do about each.

    Prints a letter, findings first, and writes a page and a JSON file named after the input, over no other.

    Args:
        logits: An .npz (logits, labels), .npy, .safetensors, .pt, CSV, Parquet or Feather file, also as timm's
            inference script and Transformers' predict give them; the folder of a comparison, of which all seeds are
            read; or - for standard input.
        labels: A file of labels, where the other has none.
        kind: What the scores are, where the file does not say; by default logits.
        rows: Whether the model was trained on these rows; by default taken as heldout.
        against: Scores of another model on the same rows, to compare with.
        margin: The largest differences to that model that do not matter: accuracy=0.5 (points), nll=2%, eaurc=5%.
        group: The array or column of rows that vary together (a patient, a document); by default one called group.
        out: Folder for the page and the JSON file.
        strict: Exit with 3 if there is a finding.
        json: Print one JSON object instead of the letter.
    """
    require_lab("audit")
    from sfumato.evaluate.auditing.audit import audit as run
    from sfumato.evaluate.auditing.audit import audit_run
    from sfumato.evaluate.statistics.margins import Margins
    from sfumato.report.audit_page import as_letter, render_audit, write

    schema()["margin"].check(margin)
    if (Path(logits) / "summary.json").is_file():
        _check_run(logits)
    first = _scores(logits, kind, labels, group=group)
    second = None if against is None else _scores(against, kind, beside=first)
    try:
        found = run(
            logits=first.scores if first.kind == "logits" else None,
            probs=first.scores if first.kind == "probs" else None,
            **first.truth,
            rows=rows or first.rows or "heldout",
            features=first.features,
            against=None if second is None else second.scores,
            against_kind="logits" if second is None or second.kind == "logits" else "probs",
            margins=Margins.parse(margin),
            group=first.group,
        )
    except (ValueError, IndexError, TypeError) as error:
        told = str(error).replace("for logits use logits=", "these look like logits: say --kind logits")
        raise UsageError(f"{first.name}: {told}") from None
    told = found.to_dict()
    told["read"] = read = _what_was_read(first, found, second, said=rows is not None)
    if logits != "-" and Path(logits).is_dir():
        told["arms"] = audit_run(Path(logits))
    text = jsonlib.dumps(told, ensure_ascii=False, allow_nan=False)
    page = render_audit(told, found.figures, read, _free(Path(out), logits, first.name, text + "\n"))
    write(page.with_suffix(".json"), text + "\n")
    try:
        print(text if json else as_letter(told, read, width()))
        print(f"wrote {page} and {page.with_suffix('.json')}", file=sys.stderr if json else sys.stdout, flush=True)
    except BrokenPipeError:  # whoever reads has seen enough, and a finding stays one
        close_stdout()
    return FINDING if strict and found.findings else OK


def _free(folder: Path, given: str, name: str, text: str) -> Path:
    """The page of an audit: named after what was read, and numbered where another audit has that name."""
    stem = "audit" if given == "-" else f"{Path(name.removesuffix('.gz')).stem}-audit"
    for number in itertools.count(1):
        page = folder / (f"{stem}.html" if number == 1 else f"{stem}-{number}.html")
        told = page.with_suffix(".json")
        if (told.read_bytes() == text.encode()) if told.exists() else not page.exists():
            return page
    raise AssertionError("numbers do not end")


def _check_run(folder: str) -> None:
    """Refuse a run that report refuses, such as one that lacks the scores of a seed."""
    from sfumato.runs.read import ReportError, load_run

    try:
        load_run(folder)
    except ReportError as error:
        raise UsageError(str(error)) from None


def _scores(
    path: str, kind: str | None, labels: str | None = None, *, beside: ScoreFile | None = None, group: str | None = None
) -> ScoreFile:
    """The scores of a model with their labels, from the same file or another; of the rows of another model's."""
    from sfumato.evaluate.scores.read_scores import read_labels, read_scores
    from sfumato.evaluate.scores.soft_labels import SoftLabels

    found = read_scores(path, kind=kind, group=group)
    if labels is not None:
        given = read_labels(labels)
        soft = isinstance(given, SoftLabels)
        found.labels, found.soft = (None, given) if soft else (given, None)
    known = found.labels if found.soft is None else found.soft
    if known is None and beside is None:
        raise UsageError(
            f"{found.name} has no labels; name a file of them with --labels, or save both: "
            "numpy.savez(file, logits=logits, labels=labels)"
        )
    rows, name = len(found.scores), found.name
    if beside is not None and rows != len(beside.scores):
        raise UsageError(f"{name} has {rows} rows and {beside.name} has {len(beside.scores)}")
    if known is not None and len(known) != rows:
        raise UsageError(f"{name} has {rows} rows of scores and {len(known)} labels; they must be as many")
    row, what = None, "soft labels differ"
    if beside is not None and found.labels is not None and beside.labels is not None:
        unlike = found.labels != beside.labels
        if unlike.any():
            row = int(unlike.argmax())
            what = f"labels are {found.labels[row]} and {beside.labels[row]}"
    elif beside is not None and found.soft is not None and beside.soft is not None:
        row = found.soft.first_unlike(beside.soft)
    if beside is not None and row is not None:
        raise UsageError(f"{name} and {beside.name} are not on the same rows: in row {row} the {what}")
    return found


def _what_was_read(file: ScoreFile, found: Audit, other: ScoreFile | None, *, said: bool) -> list[str]:
    from sfumato.evaluate.scores.score_matrix import ScoreMatrix

    what = "probabilities" if file.kind == "probs" else "logits"
    stored = ScoreMatrix(logits=file.scores).type_name
    trained = found.kind == "train"
    taken = "rows that the model was trained on" if trained else "rows that the model was not trained on"
    option = "" if said or file.rows else f" (--rows {'heldout' if trained else 'train'} if that is wrong)"
    ties = f"shared in {plural(found.tied, 'row')}" if found.tied else "shared in no row"
    size = f"{plural(found.rows, 'row')} of {plural(found.classes, 'class', 'classes')}"
    if found.groups is not None:
        size += f" in {plural(found.groups, 'group')}, which the intervals count"
    read = [
        f"{file.name}: {size}, {what} in {stored}; the largest score is {ties}.",
        f"Taken as {taken}{option}.",
        *texts(file.notes),
    ]
    if other is not None:
        labelled = other.labels is not None or other.soft is not None
        of = f", both against the {'hard' if file.soft is None else 'soft'} labels of {file.name}"
        differ = labelled and (other.soft is None) != (file.soft is None)
        read.append(f"Compared with {other.name} on the same rows{of if differ else ''}.")
    return read
