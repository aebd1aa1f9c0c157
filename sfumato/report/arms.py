"""What pages take of the arms of a run: names, colours, strengths, closed forms, and what each model makes of a row."""

import math
from collections.abc import Sequence

import numpy as np

from sfumato import evaluate, theory
from sfumato.evaluate.scores.per_row import scan
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.runs.read import Floats, Run
from sfumato.runs.schema import ArmSummary
from sfumato.text import short


def arm_title(arm: ArmSummary, *, strength: bool = True) -> str:
    """What to call an arm: ``one-hot``, ``smoothed 0.1``, or without ``strength``, ``smoothed``.

    What ε is spread over is named where it is not all classes: ``smoothed 0.1 (others)``.
    """
    if "description" in arm:
        return arm["description"]["title"]
    name, over, eps = arm["name"], arm["over"], f"{arm['eps'] or 0:g}"
    if not arm["eps"] or over is None or (eps in name and over.removesuffix("s") in name):
        return name
    where = "" if over == "all" else f" ({over})"
    if eps in name:
        return f"{name}{where}"
    return f"{name} {eps}{where}" if strength else name


def torch_strength(arm: ArmSummary, num_classes: int) -> float | None:
    """The arm's ε as torch's ``label_smoothing``, over all classes; None where no single ε up to 1 says it."""
    eps, over = arm["eps"], arm["over"]
    if "description" in arm:
        return None
    if eps == 0:
        return 0.0
    if eps is None or over == "all":
        return eps
    if over != "others" or eps * num_classes > num_classes - 1:
        return None
    return float(theory.convert_eps(eps, num_classes, frm="others", to="all"))


def closed_form(arm: ArmSummary) -> float:
    """The gap at the optimum of an arm: infinite for one-hot, and NaN for a penalty that no single gap is best for."""
    if arm["closed_form_gap"] is not None:
        return float(arm["closed_form_gap"])
    return math.nan if "description" in arm and arm["description"]["no_gap"] else math.inf


def arm_titles(run: Run) -> list[str]:
    """The arms as the tables call them."""
    return [arm_title(arm) for arm in run.arms]


def line_names(run: Run) -> list[str]:
    """The arms as figures call them at the ends of lines: without a strength where the name is enough."""
    return [short(arm_title(arm, strength=False), 22, end="…") for arm in run.arms]


def places(arms: Sequence[ArmSummary]) -> list[int]:
    """The place of each arm's colour: 0, slate, is one-hot or the first of models trained elsewhere; 1 is smoothed."""
    trained_here = any(arm["eps"] is not None or "description" in arm for arm in arms)
    slate = [arm for arm in arms if arm["eps"] == 0 and "description" not in arm] if trained_here else arms[:1]

    def place(arm: ArmSummary) -> tuple[bool, bool]:
        return arm not in slate[:1], "smooth" not in arm["name"] and ("description" in arm or not arm["eps"])

    return [sorted(arms, key=place).index(arm) + (not slate) for arm in arms]


def finite(value: float) -> str:
    """A closed form in words."""
    return "none" if np.isnan(value) else f"{value:.2f}" if np.isfinite(value) else "infinite"


def rows_of(run: Run, arm: str, seed: int, *, scaled: bool = False, temperature: float = 1.0) -> evaluate.Rows:
    """Confidence, log loss and the like of each test row; ``scaled`` divides the logits by this model's temperature."""
    saved = run.test[arm, seed]
    divisor = run.temperature(arm, seed) if scaled else temperature
    if saved.soft is None:
        return evaluate.per_row(logits=saved.logits, labels=saved.labels, temperature=divisor)
    return scan(ScoreMatrix(logits=saved.logits), saved.labels, divisor, soft=saved.soft)


def probabilities(run: Run, arm: str, seed: int) -> Floats:
    """Probabilities (n, K) of the test rows, the logits divided by the temperature that was fitted for this model."""
    from scipy.special import softmax

    return softmax(run.test[arm, seed].logits.astype(np.float64) / run.temperature(arm, seed), axis=1)
