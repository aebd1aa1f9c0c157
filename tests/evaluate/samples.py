"""Samples of every shape that the metrics treat apart, and all that is said of them, as plain values.

``tests/golden/make_evaluate_values.py`` writes these values down, and ``test_evaluate_frozen`` holds them: a result
that changes is meant to, and told in the changelog, or it is an accident.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import sfumato.evaluate as ev
from sfumato.evaluate.inferred_smoothing import judge
from sfumato.evaluate.metrics.calibration import ece_without_each
from sfumato.evaluate.metrics.compute import t95
from sfumato.evaluate.metrics.registry import compute_metrics
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import NllSlope, jackknife
from sfumato.evaluate.scores.measure import measure

Array = npt.NDArray[Any]


def softmax(z: Array) -> Array:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def drawn(n: int, k: int, seed: int, *, scale: float = 2.0, sharp: float = 1.0, noise: float = 0.0) -> dict[str, Array]:
    """Logits, and labels drawn from their probabilities at temperature ``sharp``; a share of them at random."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * scale
    y = np.minimum((softmax(z / sharp).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)
    y = np.where(rng.random(n) < noise, rng.integers(k, size=n), y)
    return {"logits": z, "labels": y}


def smoothed(n: int, k: int, eps: float, spread: float, seed: int, *, wrong: float = 0.0) -> dict[str, Array]:
    """Logits near the optimum of smoothing by ε over all classes, with noise in them and some labels wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    q = np.full((n, k), eps / k)
    q[np.arange(n), y] += 1 - eps
    z = np.log(q) + spread * rng.normal(size=(n, k))
    return {"logits": z, "labels": np.where(rng.random(n) < wrong, (y + 1) % k, y)}


def uneven(n: int, k: int, eps: float, spread: float, seed: int) -> dict[str, Array]:
    """As :func:`smoothed`, with the wrong classes of each row this share of its gap apart, and their mean as it was."""
    sample = smoothed(n, k, eps, 0.02, seed)
    apart = np.random.default_rng(seed).normal(size=(n, k))
    apart[np.arange(n), sample["labels"]] = 0.0
    apart -= apart.sum(axis=1, keepdims=True) / (k - 1)
    apart[np.arange(n), sample["labels"]] = 0.0
    return _changed(sample, lambda z: z + spread * np.log(1 + k * (1 - eps) / eps) * apart)


def _changed(sample: dict[str, Array], change: Callable[[Array], Array]) -> dict[str, Array]:
    return {**sample, "logits": change(sample["logits"])}


def _tied(sample: dict[str, Array]) -> dict[str, Array]:
    """Whole logits, where rows of the same numbers have them in the same order, and so one confidence to the last bit.

    Sums of the same exponentials in another order differ by a rounding, and by which one on another processor.
    """
    z, rows = np.round(sample["logits"]), np.arange(len(sample["labels"]))
    order = np.argsort(z, axis=1, kind="stable")
    _, first, which = np.unique(
        np.sort(z - z.max(axis=1, keepdims=True)), axis=0, return_index=True, return_inverse=True
    )
    like = first[which.reshape(-1)]
    place = np.argmax(order == sample["labels"][:, None], axis=1)
    return {"logits": z[like], "labels": order[like][rows, place]}


def _dyadic(z: Array) -> Array:
    """The softmax in multiples of 2⁻²⁰ that add up to 1 exactly: the same bits on every processor."""
    p = np.round(softmax(z) * 2.0**20) / 2.0**20
    p[:, -1] = 1 - p[:, :-1].sum(axis=1)
    return p


def _ruled_out(z: Array) -> Array:
    z = z.copy()
    z[:, 2] = -np.inf
    z[3:9, 4:] = -np.inf
    return z


def samples() -> dict[str, dict[str, Array]]:
    plain = drawn(400, 7, 0, sharp=1.7)
    tied = _tied(drawn(300, 4, 1, scale=1.5))
    out = _changed(drawn(200, 6, 2), _ruled_out)
    out["labels"] = np.where(np.isfinite(out["logits"][np.arange(200), out["labels"]]), out["labels"], 0)
    right = drawn(60, 3, 3)
    right["labels"] = right["logits"].argmax(axis=1)
    backwards = drawn(90, 3, 4)
    backwards["labels"] = backwards["logits"].argmin(axis=1)
    two = drawn(130, 4, 15)
    two["logits"][[7, 9]] = 1.0
    lost = _changed(drawn(50, 5, 8), lambda z: np.where(np.arange(50)[:, None] == 4, np.r_[0.0, 0, 0, 0, -np.inf], z))
    lost["labels"][4] = 4
    return {
        "plain": plain,
        "two classes": drawn(150, 2, 5, scale=1.2),
        "tied": tied,
        "classes ruled out": out,
        "all right": right,
        "all wrong": backwards,
        "two rows tied": two,
        "label ruled out": lost,
        "hardly better than chance": drawn(250, 9, 6, scale=0.3, noise=0.8),
        "bold": drawn(500, 12, 7, scale=4.0, sharp=2.5, noise=0.05),
        "timid": drawn(500, 4, 10, scale=1.0, sharp=0.4),
        "half": {"logits": drawn(200, 5, 11)["logits"].astype(np.float16), "labels": drawn(200, 5, 11)["labels"]},
        "few": drawn(6, 3, 12),
        "one row": drawn(1, 3, 13),
        "probabilities": {"probs": _dyadic(drawn(220, 5, 14)["logits"]), "labels": drawn(220, 5, 14)["labels"]},
    }


def flat(value: Any) -> Any:
    """As JSON has it: arrays as lists, what is not finite as a word."""
    if isinstance(value, dict):
        return {str(k): flat(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [flat(v) for v in value]
    if isinstance(value, np.ndarray):
        return flat(value.tolist())
    if isinstance(value, (bool, np.bool_)) or value is None or isinstance(value, str):
        return bool(value) if isinstance(value, np.bool_) else value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def told_of_part(part: Array | None) -> list[float] | None:
    """Two sums that a change of any entry, or of their order, moves."""
    if part is None:
        return None
    part = np.where(np.isfinite(part), part, 7.0)
    return [float(part @ np.cos(np.arange(len(part)))), float(part @ part)]


def of_numbers(sample: dict[str, Array]) -> Any:
    found = compute_metrics(measure(**sample), parts=True)  # type: ignore[arg-type]
    return {name: [n.value, n.low, n.high, told_of_part(n.part)] for name, n in found.items()}


def of_columns(sample: dict[str, Array]) -> Any:
    rows = ev.per_row(**sample)  # type: ignore[arg-type]
    return {
        name: told_of_part(np.asarray(column, float)) for name, column in vars(rows).items() if name != "of_classes"
    }


def of_audit(sample: dict[str, Array], **more: Any) -> Any:
    return ev.audit(**sample, **more).to_dict()["reading"]  # type: ignore[arg-type]


def of_evidence(sample: dict[str, Array], kind: Any) -> Any:
    found = judge(ev.per_row(**sample), sample["logits"].shape[1], kind)  # type: ignore[arg-type]
    s = found.smoothing
    told = None if s is None else [s.eps_all, s.eps_others, s.low, s.high, s.explanations]
    return [told, found.reason, found.gap, found.varied, found.spread]


def of_interval(shape: tuple[int, int], sds: tuple[float, float, float], **more: Any) -> Any:
    rng = np.random.default_rng(shape[0] * 100 + shape[1])
    a, b, c = (sd * rng.normal(size=s) for sd, s in zip(sds, ((shape[0], 1), (1, shape[1]), shape), strict=True))
    estimate = ev.estimate_interval(a + b + c + 0.4, **more)
    told: dict[str, Any] = {"interval": list(vars(estimate).values())}
    if shape[0] > 1 and shape[1] > 1:
        told["power"] = [
            ev.power(estimate, d, seeds=s, rows=n)
            for d, s, n in ((0.3, None, None), (-0.7, 4, 50), (0.2, math.inf, 30), (0.0, 3, None))
        ]
        told["detectable"] = [
            ev.detectable_difference(estimate, seeds=s, rows=n, chance=c)
            for s, n, c in ((None, None, 0.8), (9, 200, 0.5), (math.inf, None, 0.9))
        ]
        told["seeds"] = [
            ev.seeds_to_settle(estimate, **words)
            for words in ({}, {"difference": 0.25}, {"rows": 400, "chance": 0.95}, {"limit": 5})
        ]
    return told


def of_functions(sample: dict[str, Array]) -> Any:
    """The pure functions with options that the metrics do not use."""
    rows = ev.per_row(logits=sample["logits"], labels=sample["labels"])
    c, right = rows.confidence, rows.correct
    table, ranked = ev.reliability(c, right, bins=7), RankedGroups(c, right)
    floor = ev.noise_floor(c, bins=7, resamples=200, seed=3)
    temperature = ev.fit_temperature(logits=sample["logits"], labels=sample["labels"])
    small = ev.fit_temperature(small=True, logits=sample["logits"][:9], labels=sample["labels"][:9])
    told: dict[str, Any] = {
        "ece": [ev.ece(c, right, bins=b) for b in (1, 4, 15)],
        "ece jackknife": told_of_part(ece_without_each(c, right, 6)),
        "equal mass": [ev.ece(c, right, bins=b, equal_mass=True) for b in (1, 4, 15)],
        "reliability": [told_of_part(np.asarray(column, float)) for column in vars(table).values()],
        "floor": list(vars(floor).values()),
        "defaults": [
            ev.noise_floor(c).mean,
            ev.ece(c, right),
            ev.ece(c, right, equal_mass=True),
            len(ev.reliability(c, right).count),
        ],
        "wilson": [list(each) for each in ev.wilson(np.array([0.0, 0.3, 1.0]), np.array([5.0, 40.0, 7.5]))],
        "curve": [
            told_of_part(np.asarray(each, float)) for each in (ranked.place / len(c), ranked.errors / ranked.place)
        ],
        "risk at": [ranked.risk_at(x) for x in (0.001, 0.3, 0.75, 1.0)],
        "coverage at": [ranked.coverage_at(x) for x in (0.0, 0.1, 0.3, 1.0)],
        "areas": [getattr(ranked, f)() for f in ("aurc", "eaurc", "augrc")],
        "jackknives": [told_of_part(each) for each in (ranked.aurc_without_each(), ranked.eaurc_without_each())],
        "temperature": [temperature.value, temperature.at_bound, small.value, small.at_bound],
        "temperature jackknife": told_of_part(
            jackknife(NllSlope(sample["logits"], sample["labels"]), temperature.value)
        ),
        "gap": told_of_part(ev.logit_gap(sample["logits"], sample["labels"])),
        "norm": told_of_part(rows.norm),
    }
    return told


def of_geometry() -> Any:
    rng = np.random.default_rng(20)
    y = rng.integers(4, size=120)
    x = rng.normal(size=(4, 9))[y] * 2 + rng.normal(size=(120, 9))
    return [ev.nc1(x, y)]


def everything() -> dict[str, Callable[[], Any]]:
    """What is said, by a name for each; nothing of it takes a second."""
    given = samples()
    told: dict[str, Callable[[], Any]] = {}
    for name, sample in given.items():
        told[f"numbers: {name}"] = lambda sample=sample: of_numbers(sample)
        told[f"columns: {name}"] = lambda sample=sample: of_columns(sample)
        told[f"audit: {name}"] = lambda sample=sample: of_audit(sample)
    for name in ("plain", "tied", "bold", "timid"):
        told[f"functions: {name}"] = lambda sample=given[name]: of_functions(sample)
    told["audit: sure, as training rows"] = lambda: of_audit(smoothed(1100, 5, 0.02, 0.3, 40), rows="train")
    told["audit: sure, as held-out rows"] = lambda: of_audit(smoothed(1000, 5, 0.02, 0.3, 40))
    told["audit: sure, of few rows"] = lambda: of_audit(smoothed(999, 5, 0.02, 0.3, 40))
    told["audit: one class, twice"] = lambda: of_audit(
        {"logits": np.repeat(given["plain"]["logits"][:30], 2, axis=0), "labels": np.zeros(60, np.int64)}
    )
    told["audit: a better one"] = lambda: of_audit(
        given["plain"], against=given["plain"]["logits"] + np.random.default_rng(50).normal(size=(400, 7)) * 3
    )
    told["audit: one as good"] = lambda: of_audit(
        given["plain"], against=given["plain"]["logits"] + np.random.default_rng(51).normal(size=(400, 7)) * 0.05
    )
    told["audit: probabilities against"] = lambda: of_audit(
        given["bold"], against=softmax(given["bold"]["logits"] / 3), against_kind="probs"
    )
    for number, words in enumerate(
        (
            (300, 10, 0.1, 0.1, 60), (300, 10, 0.1, 0.5, 61), (300, 3, 0.3, 0.2, 62), (200, 2, 0.2, 0.2, 63),
            (500, 50, 0.05, 0.4, 64), (400, 4, 0.4, 0.15, 65), (15, 5, 0.1, 0.1, 66), (300, 10, 0.001, 0.1, 67),
            (300, 10, 0.1, 0.9, 68), (300, 6, 0.95, 0.05, 69), (400, 20, 0.1, 0.3, 70),
        )
    ):  # fmt: skip
        for kind in ("train", "heldout"):
            for wrong in (0.0, 0.15):
                told[f"smoothing: {number}, {kind}, {wrong}"] = lambda words=words, kind=kind, wrong=wrong: of_evidence(
                    smoothed(*words, wrong=wrong), kind
                )
    for kind, spreads in (("train", (0.18, 0.24)), ("heldout", (0.16, 0.22))):
        for k, eps in ((12, 0.1), (4, 0.3)):
            for spread in spreads:
                told[f"smoothing: {k} classes, {kind}, {spread} apart"] = (
                    lambda k=k, eps=eps, spread=spread, kind=kind: of_evidence(uneven(500, k, eps, spread, 80), kind)
                )
    for name in ("plain", "bold", "timid", "classes ruled out"):
        told[f"smoothing: {name}"] = lambda sample=given[name]: of_evidence(sample, "heldout")
    for shape in ((1, 20), (2, 12), (3, 40), (5, 9), (8, 1), (10, 100)):
        for sds in ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.5, 0.0, 2.0), (0.1, 3.0, 0.5)):
            told[f"interval: {shape}, {sds}"] = lambda shape=shape, sds=sds: of_interval(shape, sds)
    told["interval: elsewhere"] = lambda: of_interval((4, 30), (0.3, 0.8, 1.0), estimate=0.1, level=0.9)
    told["quantiles of t"] = lambda: [t95(df) for df in (1, 8.9, 9, 10.5, 30, 1000)]
    told["holm"] = lambda: [ev.holm(p) for p in ([0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.9, 0.4], [0.0, 1.0])]
    told["pseudo-values"] = lambda: ev.pseudo_values([0.5, 0.7], [[0.4, 0.6, 0.5], [0.8, 0.6, 0.7]])
    told["geometry"] = of_geometry
    return told
