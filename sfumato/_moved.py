"""Where modules have gone: an import by the old path warns, and gives the module at its new place.

Python asks here only after it has found no module of that name, so a row of the table hides nothing that exists. The
rows are for one release.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "conventions.general": "conventions.catalogue.frameworks",
    "conventions.kernels": "conventions.catalogue.fused_kernels",
    "conventions.research": "conventions.catalogue.papers",
    "conventions.text": "conventions.catalogue.translation",
    "conventions.vision": "conventions.catalogue.vision",
    "evaluate.calibration": "evaluate.metrics.calibration",
    "evaluate.classwise": "evaluate.metrics.classwise",
    "evaluate.gap": "evaluate.metrics.logit_gap",
    "evaluate.geometry": "evaluate.metrics.features",
    "evaluate.intervals": "evaluate.statistics.intervals",
    "evaluate.measures": "evaluate.metrics.registry",
    "evaluate.planning": "evaluate.statistics.planning",
    "evaluate.rows": "evaluate.scores.rows",
    "evaluate.selective": "evaluate.metrics.selective",
    "evaluate.smooth": "evaluate.metrics.smooth_calibration",
    "evaluate.smoothing": "evaluate.inferred_smoothing",
    "evaluate.summary": "evaluate.evaluation",
    "evaluate.temperature": "evaluate.metrics.temperature",
    "lab.analyse": "verdict.analyse",
    "lab.budget": "lab.train.notes",
    "lab.choose": "lab.choose_model",
    "lab.cluster": "lab.execute.ray",
    "lab.data.roles": "lab.data.column_roles",
    "lab.early": "lab.train.early_stop",
    "lab.estimate": "lab.cost_estimate",
    "lab.files": "arrays.atomic",
    "lab.machine": "lab.versions_and_machine",
    "lab.models.base": "lab.models.classifier",
    "lab.objectives": "lab.train.objectives",
    "lab.ranks": "lab.execute.torchrun",
    "lab.runs": "runs.folder",
    "lab.settle": "verdict.more_seeds",
    "lab.track": "lab.trackers",
    "lab.trial": "lab.doctor_trial",
    "lab.verdict": "verdict.sentences",
    "lab.work": "lab.execute.processes",
    "probe.calling": "probe.call.caller",
    "probe.numerics": "probe.checks.numerics",
    "probe.prior": "probe.read.prior",
    "probe.reading": "probe.read.gradients",
    "probe.rows": "probe.checks.reduction",
    "probe.spec": "probe.call.find",
    "probe.strengths": "probe.checks.strength",
    "probe.telling": "probe.text",
    "probe.understanding": "probe.call.call_style",
    "probe.weights": "probe.read.class_weights",
    "report.changed": "report.compare.changed_rows",
    "report.conversion": "explain.conversion",
    "report.drawing": "report.figure_style",
    "report.examples": "report.compare.row_examples",
    "report.explain": "explain.text",
    "report.explain_page": "explain.page",
    "report.merged": "report.merged_page",
    "report.page": "report.compare.page",
    "report.penultimate": "report.compare.last_layer",
    "report.plots": "report.compare.plots",
    "report.plots.calibration": "report.compare.plots.calibration",
    "report.plots.confusions": "report.compare.plots.confusions",
    "report.plots.differences": "report.compare.plots.differences",
    "report.plots.gaps": "report.compare.plots.gaps",
    "report.plots.ladder": "report.compare.plots.ladder",
    "report.plots.projection": "report.compare.plots.projection",
    "report.plots.selective": "report.compare.plots.selective",
    "report.plots.temperature": "report.compare.plots.temperature",
    "report.run": "runs.read",
    "report.shape": "runs.schema",
    "report.svg": "report.figure_to_svg",
    "report.tables": "report.compare.tables",
    "report.use": "report.compare.code_to_copy",
    "report.words": "report.compare.page_sentences",
    "targets.combined": "targets.mixture",
    "targets.target": "targets.base",
}
"""Old path to new path, both below the package; modules whose names began with an underscore are not kept."""


def find_spec(name: str) -> ModuleSpec | None:
    """How to import a module by the path that it had, or None where the table has no such path."""
    return ModuleSpec(name, _Loader()) if name.removeprefix("sfumato.") in MOVED else None


class _Loader(Loader):
    """Puts the module from its new place where Python looks for the old one."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes an empty module, which :meth:`exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        new = f"sfumato.{MOVED[module.__name__.removeprefix('sfumato.')]}"
        # Frames of the import system are not counted, so the warning names the line that imports.
        warnings.warn(f"{module.__name__} has moved to {new}", DeprecationWarning, stacklevel=2)
        found = import_module(new)
        if hasattr(found, "__path__"):  # a folder: without a path of its own here, its files come by rows of the table
            module.__path__ = []
            module.__dict__.update({name: value for name, value in vars(found).items() if not name.startswith("__")})
        else:
            sys.modules[module.__name__] = found
