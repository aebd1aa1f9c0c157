"""``sfumato compare``: the main job."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, UsageError, Whole, app, sources, typed
from sfumato.extras import require_lab

if TYPE_CHECKING:
    from sfumato.lab.compare import Watcher
    from sfumato.runs.schema import Summary


@app.command
def compare(
    data: str | None = None,
    *,
    label: str | None = None,
    label_probs: str | None = None,
    text: str | None = None,
    split: str | None = None,
    weight: str | None = None,
    group: str | None = None,
    image_size: Whole | None = None,
    eps: float = 0.1,
    over: Literal["others", "all"] = "others",
    ladder: str | None = None,
    arm: list[str] | None = None,
    seeds: Whole = 5,
    model: str | None = None,
    pretrained: str | None = None,
    device: str = "cpu",
    epochs: Whole | None = None,
    batch_size: Whole | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    accumulate: Whole = 1,
    precision: Literal["float32", "bf16"] = "float32",
    early_stop: Whole | None = None,
    workers: Whole | None = None,
    together: Flag = False,
    on: str | None = None,
    time_budget: float | None = None,
    track: str | None = None,
    dry_run: Flag = False,
    out: str | None = None,
    resume: str | None = None,
    json: Flag = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Train one-hot and smoothed targets side by side and say which to use.

    Both arms start from the same weights and see the same batches. The run ends in a verdict, a table and a report
    page in a run folder. Every option can also be set in a TOML file (-c) or in the environment,
    as SFUMATO_EPS and so on.

    Args:
        data: digits (embedded); a .csv, .tsv (also .gz) or .parquet table; an .npz with X and y; a folder of class
            folders of images, with or without train, val and test above them; or module:function, such as
            mine.data:load or mine/data.py:load.
        label: Label column of a table; by default the one called label, target, class or y.
        label_probs: Soft labels instead: columns of probabilities, one a class (p_0,p_1,p_2 or p_*).
        text: Column of texts to learn from, as TF-IDF; several with commas between.
        split: Column that says train, validation or test; by default rows are split by content.
        weight: Column of row weights, above 0, that count in training.
        group: Column whose equal values, such as one patient, are never split.
        image_size: Side in pixels to which a folder's images are brought.
        eps: Strength of the smoothing.
        over: What the strength is spread over: the wrong classes (others), or all as torch does.
        ladder: Strengths to choose from instead of --eps, such as 0,0.02,0.05,0.1,0.2: chosen on the validation rows by
            hard NLL after temperature; the test rows are read once, after that.
        arm: A target to compare, instead of --eps and --over; give it twice or more: onehot, others:0.1, all:0.1,
            prior:0.1 (spread by the classes' shares), mixup:0.2, cutmix:1 (α of their Beta distribution), or soft (the
            data's soft labels). The first is what the others are compared with.
        seeds: Runs per arm, at least 3.
        model: mlp (two hidden layers of 256), linear, cnn (three convolutions), torchvision:NAME, timm:NAME,
            hf:FOLDER, or module:callable, called with the shape of a row and the number of classes. By default cnn for
            images and mlp for all else.
        pretrained: Start from the weights in a .safetensors or .pt file.
        device: Where to train: cpu, cuda, cuda:1, mps.
        epochs: Passes over the training rows; by default a full budget by the number of rows.
        batch_size: Rows a step; by default 64, fewer for small data and 256 for large.
        learning_rate: Adam's at the start; a cosine takes it to 0.
        weight_decay: AdamW's, on every parameter; at 0 the optimiser is Adam and closed forms can be reached.
        accumulate: Split each batch into so many parts, to save memory; the step is that of the whole batch. A
            model that normalises over the batch does so over each part.
        precision: bf16 makes the forward passes of training bfloat16; weights, loss and evaluation stay float32.
        early_stop: Stop a run after so many epochs without a better one, by hard NLL after temperature on validation
            rows, and keep the best; by default the full budget is used.
        workers: Processes; by default one a core, or four on a GPU. The result does not depend on it.
        together: Train all runs as one batched program on so many threads, not in processes: for small models, such as
            linear, and GPUs that one of them leaves idle; larger ones train slower so. Last digits differ from those of
            separate runs.
        on: ray: run on Ray, one started for this or the cluster that RAY_ADDRESS names; the result is the same to the
            bit. Needs pip install 'sfumato[ray]'.
        time_budget: Minutes that the training may take: epochs are cut to fit, by a few steps tried first.
        track: trackio, wandb or tensorboard: show the curves there too, while they are made, a run for each arm and
            seed.
        dry_run: Say what would run, and about how much time, memory and disk it takes; write nothing.
        out: The run folder; by default runs/DATA-DATE-N.
        resume: A run that was stopped: go on with it, to the same result. Takes no DATA and no other option but
            --workers, --on, --track, --json and --quiet. Of a finished run it prints the result.
        json: Print one JSON object instead of text.
        quiet: No progress.
        config: A TOML file with any of these options.
    """
    require_lab("compare")
    from sfumato.cli.progress import Watch
    from sfumato.lab import compare as lab
    from sfumato.lab.execute.torchrun import is_first
    from sfumato.lab.options import Options

    with Watch(sys.stderr, quiet=quiet or not is_first()) as watch:
        watcher = lab.Watcher(watch.setup, watch.epoch, _render(watch.say), _choose)
        if resume is not None:
            result, notes = _resumed(resume, workers, on, track, watcher)
        else:
            if data is None:
                raise UsageError(
                    "compare needs DATA: digits, a .csv, .tsv, .parquet or .npz file, a folder of images, or "
                    "module:function"
                )
            options = Options(
                data=data,
                label=label,
                label_probs=label_probs,
                text=text,
                split=split,
                weight=weight,
                group=group,
                image_size=image_size,
                eps=eps,
                over=over,
                ladder=ladder,
                arm=None if arm is None else ",".join(arm),
                seeds=seeds,
                model=model,
                pretrained=pretrained,
                device=device,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                accumulate=accumulate,
                precision=precision,
                early_stop=early_stop,
                workers=workers,
                together=together,
                on=on,
                time_budget=time_budget,
                track=track,
                out=out,
            )
            if dry_run:
                expected = lab.dry_run(options)
                if not is_first():
                    return OK
                print(jsonlib.dumps(expected.to_json()) if json else expected.told())
                return OK
            command = shlex.join(["sfumato", *_repeatable(typed)])
            result = lab.compare(options, sources=sources, command=command, watcher=watcher)
            if not is_first():
                return OK
            notes = _notes(result)
    summary = cast("Summary", result)
    if json:
        print(jsonlib.dumps(summary, ensure_ascii=False, allow_nan=False))
        return OK
    print(_told(summary, notes))
    return OK


def _notes(result: dict[str, Any]) -> list[str]:
    """What the run just made has to say beside its verdict."""
    return jsonlib.loads((Path(result["run"]) / "env.json").read_text(encoding="utf-8"))["notes"]


def _resumed(
    run: str, workers: int | None, on: str | None, track: str | None, watcher: Watcher
) -> tuple[dict[str, Any], list[str]]:
    """The result of a run that was stopped, or of one that is whole, and its notes."""
    from sfumato.lab import compare as lab
    from sfumato.runs.folder import find

    alone = {"resume", "workers", "on", "track", "json", "quiet"}
    more = [name for name, source in sources.items() if source == "command line" and name not in alone]
    if more:
        what = "DATA" if more == ["data"] else "--" + next(n for n in more if n != "data").replace("_", "-")
        raise UsageError(f"--resume takes everything from the run; leave out {what}")
    final, whole = find(run)
    if not whole:
        result = lab.resume(final, workers=workers, on=on, track=track, watcher=watcher)
        return result, _notes(result)

    from sfumato.runs.read import load_run

    stored = load_run(final)
    return {**stored.summary, "run": str(final)}, stored.env.get("notes", [])


def _repeatable(words: Sequence[str]) -> list[str]:
    """The command without the name of its run folder, which would be taken when it is typed again."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = word == "--out"
    return kept


def _render(say: Callable[[str], None]) -> Callable[[Path], object]:
    def render(folder: Path) -> object:
        from sfumato.report import render as to_page

        say("writing the report")
        return to_page(folder)

    return render


def _choose(folder: Path) -> Sequence[int]:
    from sfumato.report import rows_to_show

    return rows_to_show(folder)


def _told(summary: Summary, notes: Sequence[str]) -> str:
    """The result for a person: verdict first, then the numbers, then where the rest is."""
    from sfumato.report import as_text, differences_table, four_columns

    paired = summary["paired"]
    hashes = " ".join(f"{w[:6]}/{b[:6]}" for w, b in zip(paired["weights"], paired["batches"], strict=True))
    return "\n".join(
        [
            *summary["verdict"]["sentences"],
            *(f"Note: {note}" for note in notes),
            "",
            as_text(four_columns(summary), 100).rstrip(),
            "",
            as_text(differences_table(summary), 100).rstrip(),
            "",
            f"paired  weights/batches equal in all arms, seed by seed: {hashes}",
            f"report  {Path(summary['run']) / 'report.html'}",
        ]
    )
