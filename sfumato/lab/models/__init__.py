"""Models: built in, from a library, or the user's own, each as a body that makes features and a head that makes logits.

Nothing is downloaded: weights are drawn from the seed, or come from a file.
"""

from sfumato.lab.models.built_in import stack as stack
from sfumato.lab.models.by_name import build as build
from sfumato.lab.models.by_name import normalises_over_the_batch as normalises_over_the_batch
from sfumato.lab.models.classifier import Classifier as Classifier
from sfumato.lab.models.classifier import features_and_logits as features_and_logits
from sfumato.lab.models.classifier import logits_of as logits_of
from sfumato.lab.models.classifier import weights_hash as weights_hash
from sfumato.lab.models.pretrained import load_pretrained as load_pretrained

__all__ = [
    "Classifier",
    "build",
    "features_and_logits",
    "load_pretrained",
    "logits_of",
    "normalises_over_the_batch",
    "stack",
    "weights_hash",
]
