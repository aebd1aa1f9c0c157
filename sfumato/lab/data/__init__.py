"""Data for the lab: read tables, arrays, text and images, split them by content, encode them. No torch here.

``prepare`` is the one call that training needs; ``load`` and ``split`` are its halves.
"""

from sfumato.io.tables import DataError as DataError
from sfumato.lab.data.encoding import Numbers as Numbers
from sfumato.lab.data.prepare import Data as Data
from sfumato.lab.data.prepare import Part as Part
from sfumato.lab.data.prepare import prepare as prepare
from sfumato.lab.data.roles import Roles as Roles
from sfumato.lab.data.sources import load as load
from sfumato.lab.data.split import Split as Split
from sfumato.lab.data.split import split as split
from sfumato.lab.data.table import Inputs as Inputs
from sfumato.lab.data.table import Table as Table

__all__ = ["Data", "DataError", "Inputs", "Numbers", "Part", "Roles", "Split", "Table", "load", "prepare", "split"]
