"""Targets apart from the loss: what a row is trained towards, as a small typed value.

A constructor checks its arguments and makes a :class:`Target`; the loss takes one in place of labels. Constructors are
public as ``sf.smooth`` and so on: :mod:`sfumato` lists them.
"""

from sfumato.targets.base import Masses as Masses
from sfumato.targets.base import Target as Target
