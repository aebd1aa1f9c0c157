"""Penalties and rival losses: plain functions with the arguments of the cross entropy that they add to or replace.

With a strength of 0 each of them is :func:`sfumato.cross_entropy` of the same arguments, to the bit.
"""

from sfumato.loss.penalty.added import confidence as confidence
from sfumato.loss.penalty.added import logit_l2 as logit_l2
from sfumato.loss.penalty.added import margin as margin
from sfumato.loss.penalty.added import maxsup as maxsup
from sfumato.loss.penalty.added import negative_smoothing as negative_smoothing
from sfumato.loss.penalty.instead import focal as focal
from sfumato.loss.penalty.instead import relaxation as relaxation
