"""What the models of a run say about its test rows, computed from the logits that it kept; no torch is loaded."""

import numpy as np

from sfumato import evaluate
from sfumato.evaluate.scores.rows import scan
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.runs.read import Floats, Run


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
