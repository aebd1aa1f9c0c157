"""The loss of a last layer without its logits, which are made piece by piece and never all at once."""

from sfumato.loss.linear.functional import HeadParts as HeadParts
from sfumato.loss.linear.functional import linear_cross_entropy as linear_cross_entropy
