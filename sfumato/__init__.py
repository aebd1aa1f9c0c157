"""Label smoothing and softened training targets: decide, train and check.

Names are resolved on first use, so that ``import sfumato`` costs nothing and ``sfumato --help`` never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sfumato.version import __version__ as __version__

if TYPE_CHECKING:
    from sfumato import class_tables as class_tables
    from sfumato import conventions as conventions
    from sfumato import evaluate as evaluate
    from sfumato import parallel as parallel
    from sfumato import probe as probe
    from sfumato import reference as reference
    from sfumato import schedules as schedules
    from sfumato import theory as theory
    from sfumato.from_python.compare import Comparison as Comparison
    from sfumato.from_python.compare import compare as compare
    from sfumato.from_python.compare import judge as judge
    from sfumato.from_python.load_run import RunModel as RunModel
    from sfumato.from_python.load_run import load_run as load_run
    from sfumato.kernel.buffers import release_buffers as release_buffers
    from sfumato.loss import CrossEntropyLoss as CrossEntropyLoss
    from sfumato.loss import HeadParts as HeadParts
    from sfumato.loss import LossParts as LossParts
    from sfumato.loss import OnlineSmoothing as OnlineSmoothing
    from sfumato.loss import cross_entropy as cross_entropy
    from sfumato.loss import distillation_loss as distillation_loss
    from sfumato.loss import linear_cross_entropy as linear_cross_entropy
    from sfumato.loss import loss_parts as loss_parts
    from sfumato.loss import noisy_cross_entropy as noisy_cross_entropy
    from sfumato.loss import pair_cross_entropy as pair_cross_entropy
    from sfumato.loss import penalty as penalty
    from sfumato.targets.base import Target as Target
    from sfumato.targets.counts import fit_concentration as fit_concentration
    from sfumato.targets.counts import from_counts as from_counts
    from sfumato.targets.dense import distil as distil
    from sfumato.targets.dense import from_probs as from_probs
    from sfumato.targets.dense import mix as mix
    from sfumato.targets.dense import smooth_multilabel as smooth_multilabel
    from sfumato.targets.labelled import one_hot as one_hot
    from sfumato.targets.labelled import smooth as smooth
    from sfumato.targets.labelled import smooth_by_class as smooth_by_class
    from sfumato.targets.labelled import smooth_prior as smooth_prior
    from sfumato.targets.labelled import smooth_rows as smooth_rows
    from sfumato.targets.listed import distil_sampled as distil_sampled
    from sfumato.targets.listed import distil_top as distil_top
    from sfumato.verdict.judge import Judgement as Judgement
    from sfumato.verdict.save_scores import save_scores as save_scores

_MODULES = ("class_tables", "conventions", "evaluate", "parallel", "probe", "reference", "schedules", "theory")
_HOMES = {
    "from_python.compare": "Comparison compare judge",
    "from_python.load_run": "RunModel load_run",
    "kernel.buffers": "release_buffers",
    "loss": "CrossEntropyLoss HeadParts LossParts OnlineSmoothing cross_entropy distillation_loss linear_cross_entropy "
    "loss_parts noisy_cross_entropy pair_cross_entropy penalty",
    "targets.base": "Target",
    "targets.counts": "fit_concentration from_counts",
    "targets.dense": "distil from_probs mix smooth_multilabel",
    "targets.labelled": "one_hot smooth smooth_by_class smooth_prior smooth_rows",
    "targets.listed": "distil_sampled distil_top",
    "verdict.judge": "Judgement",
    "verdict.save_scores": "save_scores",
}
_HOME_OF = {name: f"sfumato.{home}" for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"sfumato.{name}")
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value  # the next look-up does not come here
        return value
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_MODULES, *_HOME_OF, "__version__"])
