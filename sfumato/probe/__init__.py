"""The target that a loss really trains towards, recovered from its gradient."""

from sfumato.probe.call.find import ProbeError as ProbeError
from sfumato.probe.call.find import load as load
from sfumato.probe.probing import probe as probe
from sfumato.probe.read.gradients import ImpliedTarget as ImpliedTarget
from sfumato.probe.read.gradients import implied_target as implied_target
from sfumato.probe.recipe import Recipe as Recipe
from sfumato.probe.result import Probe as Probe
from sfumato.probe.result import ProbeFinding as ProbeFinding
from sfumato.probe.text import as_text as as_text
from sfumato.probe.watching.watch import Watched as Watched
from sfumato.probe.watching.watch import watch as watch
