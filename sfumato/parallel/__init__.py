"""The loss of a vocabulary that is split over ranks, and the divisor of a mean over ranks and micro-batches."""

from sfumato.parallel.functional import count_items as count_items
from sfumato.parallel.functional import cross_entropy as cross_entropy
from sfumato.parallel.linear import linear_cross_entropy as linear_cross_entropy
