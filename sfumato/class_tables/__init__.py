"""Tables of targets, one row per class, for :func:`sfumato.smooth_rows`: by order, similarity, tree, or confusions.

Row y is the whole target of label y. What the classes have to do with each other is always an argument, because the
numbers of the classes are an accident of the data.
"""

from sfumato.class_tables.hierarchy import hierarchy as hierarchy
from sfumato.class_tables.hierarchy import tree_distances as tree_distances
from sfumato.class_tables.tables import confusion as confusion
from sfumato.class_tables.tables import ordinal as ordinal
from sfumato.class_tables.tables import similarity as similarity
