"""The target that a loss really trains towards, read off its gradient: no source read, no name believed."""

from sfumato.probe.call.find import ProbeError as ProbeError
from sfumato.probe.call.find import load as load
from sfumato.probe.findings import ProbeFinding as ProbeFinding
from sfumato.probe.implied import ImpliedTarget as ImpliedTarget
from sfumato.probe.implied import implied_target as implied_target
from sfumato.probe.probing import probe as probe
from sfumato.probe.recipe import Recipe as Recipe
from sfumato.probe.result import Probe as Probe
from sfumato.probe.text import as_text as as_text
from sfumato.probe.watching.watch import watch as watch
from sfumato.probe.watching.watched import Watched as Watched
