"""Models: built in, from a library, or the user's own, each as a body that makes features and a head that makes logits.

Nothing is downloaded: weights are drawn from the seed, or come from a file.
"""

from sfumato.lab.models.built_in import stack
from sfumato.lab.models.by_name import build, normalises_over_the_batch
from sfumato.lab.models.classifier import Classifier, features_and_logits, logits_of, weights_hash
from sfumato.lab.models.pretrained import load_pretrained

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
