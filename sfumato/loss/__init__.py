"""Cross entropy towards any target: arguments in one record, then the compiled kernel or torch, then one reduction."""

from sfumato.loss import penalty as penalty
from sfumato.loss.distillation import distillation_loss as distillation_loss
from sfumato.loss.functional import LossParts as LossParts
from sfumato.loss.functional import cross_entropy as cross_entropy
from sfumato.loss.functional import loss_parts as loss_parts
from sfumato.loss.linear import HeadParts as HeadParts
from sfumato.loss.linear import linear_cross_entropy as linear_cross_entropy
from sfumato.loss.module import CrossEntropyLoss as CrossEntropyLoss
from sfumato.loss.noise import noisy_cross_entropy as noisy_cross_entropy
from sfumato.loss.noise import pair_cross_entropy as pair_cross_entropy
from sfumato.loss.online import OnlineSmoothing as OnlineSmoothing
