"""The target apart from the loss: what a row is trained towards, as a small typed value.

A constructor checks its arguments and makes a :class:`Target`; the loss takes one in place of labels.
"""

from sfumato.targets.base import Masses as Masses
from sfumato.targets.base import Target as Target
from sfumato.targets.counts import fit_concentration as fit_concentration
from sfumato.targets.counts import from_counts as from_counts
from sfumato.targets.counts import unigram_prior as unigram_prior
from sfumato.targets.dense import distil as distil
from sfumato.targets.dense import from_probs as from_probs
from sfumato.targets.labelled import one_hot as one_hot
from sfumato.targets.labelled import smooth as smooth
from sfumato.targets.labelled import smooth_by_class as smooth_by_class
from sfumato.targets.labelled import smooth_prior as smooth_prior
from sfumato.targets.listed import distil_top as distil_top
from sfumato.targets.mixture import mix as mix
from sfumato.targets.multilabel import smooth_multilabel as smooth_multilabel
from sfumato.targets.sampled import distil_sampled as distil_sampled
from sfumato.targets.table import smooth_rows as smooth_rows
