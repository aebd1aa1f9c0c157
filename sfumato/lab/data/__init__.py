"""Data for the lab: read a table, split it by content, standardise it. No torch here.

``prepare`` is the one call that training needs; ``load`` and ``split`` are its halves.
"""

from sfumato.lab.data.prepare import Data as Data
from sfumato.lab.data.prepare import prepare as prepare
from sfumato.lab.data.sources import load as load
from sfumato.lab.data.split import Split as Split
from sfumato.lab.data.split import split as split
from sfumato.lab.data.table import DataError as DataError
from sfumato.lab.data.table import Table as Table

__all__ = ["Data", "DataError", "Split", "Table", "load", "prepare", "split"]
