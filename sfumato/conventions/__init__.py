"""The formulas behind the one word "label smoothing": what each framework's ε means, as data, and how to convert.

A :class:`Convention` is one way to spread ε, a pair (q_true, q_other) of ε and K. A :class:`Formula` is the whole loss
of one framework, as data and as a function: ``find("fairseq").loss(logits, labels, 0.1)``. Every one was read from its
project's source; those marked ``"run"`` were executed and compared.
"""

from sfumato.conventions.catalogue import FORMULAS as FORMULAS
from sfumato.conventions.convert import Conversion as Conversion
from sfumato.conventions.convert import convert as convert
from sfumato.conventions.convert import convert_eps as convert_eps
from sfumato.conventions.convert import convert_loss as convert_loss
from sfumato.conventions.convert import find as find
from sfumato.conventions.formula import Formula as Formula
from sfumato.conventions.row_losses import Batch as Batch
from sfumato.conventions.spread import CONVENTIONS as CONVENTIONS
from sfumato.conventions.spread import SPREADS as SPREADS
from sfumato.conventions.spread import Convention as Convention
from sfumato.conventions.spread import ConversionError as ConversionError
from sfumato.conventions.spread import all as all
from sfumato.conventions.spread import classy as classy
from sfumato.conventions.spread import deficit as deficit
from sfumato.conventions.spread import nopad as nopad
from sfumato.conventions.spread import others as others
from sfumato.conventions.spread import sigmoid_all as sigmoid_all
from sfumato.conventions.spread import sigmoid_full as sigmoid_full
from sfumato.conventions.spread import sigmoid_half as sigmoid_half
