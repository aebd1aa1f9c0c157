"""Write ``oracles.json``: what other libraries say of the same logits, with their versions.

Run by hand, with netcal, probmetrics, numba and relplot installed and fd-shifts' ``fd_shifts/analysis`` folder at hand
(its package asks for an older numpy): ``python tests/golden/make_oracles.py FOLDER``. Tests read the file alone.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

HERE = Path(__file__).parent


def sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels: plain, confident with most confidences equal to 1 in float32, of many classes, or binary."""
    n, k, scale = {
        "plain": (4000, 10, 2.0),
        "saturated": (3000, 10, 9.0),
        "many": (1500, 120, 2.5),
        "two": (2000, 2, 2),
    }[name]
    rng = np.random.default_rng([n, k])
    z = rng.normal(size=(n, k)) * scale
    if name == "saturated":
        z[np.arange(n), rng.integers(k, size=n)] += 36.5
    p = softmax(z / (6.0 if name == "saturated" else 1.6), axis=1)
    return z, np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)


def columns(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, confidence and correctness; of ``saturated`` in float32, where 73 % of the confidences are 1."""
    z, y = sample(name)
    if name == "saturated":
        z = z.astype(np.float32)
    p = softmax(z, axis=1)
    confidence = p.max(axis=1)
    return p, confidence.astype(np.float64), p.argmax(axis=1) == y


def of_netcal(name: str) -> dict[str, float]:
    from netcal.metrics import ECE

    p, _, _ = columns(name)
    y = sample(name)[1]
    p = p.astype(np.float64)
    told = {"ece": float(ECE(15).measure(p, y))}
    if name != "saturated":  # its quantile edges coincide where confidences are tied, and it stops
        told["ece_equal_mass"] = float(ECE(15, equal_intervals=False).measure(p, y))
    return told


def of_probmetrics(name: str) -> dict[str, float]:
    from probmetrics.calibrators import get_calibrator
    from probmetrics.distributions import CategoricalLogits
    from probmetrics.metrics import Metrics

    z, y = sample(name)
    names = ["logloss", "brier", "class-error", "ece-15"]
    told = Metrics.from_names(names).compute_all_from_labels_logits(torch.as_tensor(y), torch.as_tensor(z))
    calibrator = get_calibrator("temp-scaling")
    calibrator.fit_torch(CategoricalLogits(torch.as_tensor(z)), torch.as_tensor(y))
    scaled = calibrator.predict_proba_torch(CategoricalLogits(torch.as_tensor(z))).get_logits()
    # the fitted temperature, from what it did to the spread of a row
    spread = torch.as_tensor(z).std(dim=1) / scaled.double().std(dim=1)
    return {key: float(value) for key, value in told.items()} | {"temperature": float(spread.median())}


def of_fd_shifts(name: str, folder: Path) -> dict[str, float]:
    np.trapz = np.trapezoid  # gone from numpy 2
    package = types.ModuleType("fd_shifts_analysis")
    package.__path__ = [str(folder)]
    sys.modules["fd_shifts_analysis"] = package
    spec = importlib.util.spec_from_file_location("fd_shifts_analysis.rc_stats", folder / "rc_stats.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    _, confidence, correct = columns(name)
    order = np.random.default_rng(1).permutation(len(correct))
    stats = module.RiskCoverageStats(confids=confidence[order], residuals=(~correct[order]).astype(int))
    scale = stats.AUC_DISPLAY_SCALE
    return {"aurc": float(stats.aurc) / scale, "augrc": float(stats.augrc) / scale}


def main() -> None:
    folder = Path(sys.argv[1])
    told = {
        "versions": {each: version(each) for each in ("netcal", "probmetrics", "numpy", "torch")}
        | {"fd-shifts": "c4467aec134e99691359da209f811d91283fc1e3"}
    }
    for name in ("plain", "saturated", "many", "two"):
        told[name] = {
            "netcal": of_netcal(name),
            "probmetrics": of_probmetrics(name),
            "fd-shifts": of_fd_shifts(name, folder),
        }
    (HERE / "oracles.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
