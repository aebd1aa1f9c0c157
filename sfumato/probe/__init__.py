"""The target that a loss really trains towards, recovered from its gradient."""

from sfumato.probe.find_loss import ProbeError as ProbeError
from sfumato.probe.find_loss import load as load
from sfumato.probe.gradients import ImpliedTarget as ImpliedTarget
from sfumato.probe.gradients import implied_target as implied_target
from sfumato.probe.probing import probe as probe
from sfumato.probe.recipe import Recipe as Recipe
from sfumato.probe.result import Probe as Probe
from sfumato.probe.result import ProbeFinding as ProbeFinding
from sfumato.probe.result import as_text as as_text
from sfumato.probe.watching.watch import Watched as Watched
from sfumato.probe.watching.watch import watch as watch
