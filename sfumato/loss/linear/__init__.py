"""The loss of a linear layer's output without that output: logits are made in pieces, and never all at once."""

from sfumato.loss.linear.functional import HeadParts as HeadParts
from sfumato.loss.linear.functional import linear_cross_entropy as linear_cross_entropy
from sfumato.loss.linear.smoothing_term import smoothing_term as smoothing_term
