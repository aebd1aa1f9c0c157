"""Rows from a tree of classes: mistakes within a branch are milder than mistakes between branches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.rows.distances import check_above_zero, falling
from sfumato.rows.tree import read_tree


def hierarchy(
    tree: str | Path | Any, beta: float, *, classes: Sequence[str] | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    r"""Rows for classes that are the leaves of a tree: the mass falls with the height of the branch that two share.

    .. math:: R_{y,k} = \frac{\exp(-\beta\,d(k,y)/d_{max})}{\sum_j \exp(-\beta\,d(j,y)/d_{max})}

    Args:
        tree: a JSON file, or what such a file holds; see :func:`tree_distances`.
        beta: β above 0: at β → ∞ the rows are one-hot, at β → 0 uniform. The paper tries 4 to 30.
        classes: the classes' names in the order of their numbers; None where the leaves are class numbers.
        dtype: of the rows; None for the default dtype. They are computed in float64.

    Returns:
        R, (K, K).

    Raises:
        OSError: a file that cannot be read.
        ValueError: β not above 0 and finite; a tree that is none, as :func:`tree_distances` says.

    >>> hierarchy({"animal": ["cat", "dog"], "vehicle": ["car"]}, 4.0, classes=["cat", "dog", "car"])
    tensor([[0.8668, 0.1173, 0.0159],
            [0.1173, 0.8668, 0.0159],
            [0.0177, 0.0177, 0.9647]])

    Source: Bertinetto et al. 2020, "Making Better Mistakes", section 3.2.
    """
    check_above_zero(beta, "beta")
    distances = tree_distances(tree, classes=classes).double()
    return falling(distances / distances.max() * beta).to(dtype or torch.get_default_dtype())


def tree_distances(tree: str | Path | Any, *, classes: Sequence[str] | None = None) -> Tensor:
    r"""How far apart the leaves of a tree are: the height of the lowest node above both.

    .. math:: d(k, y) = \mathrm{height}(\mathrm{lca}(k, y)), \qquad d(y, y) = 0

    The height of a node is the number of steps to the farthest leaf below it.

    Args:
        tree: a JSON file, or what such a file holds. An object names nodes and has their children: in a list, or in an
            object that goes on. ``{"animal": ["cat", "dog"], "vehicle": {"road": ["car", "lorry"]}}`` and
            ``{"root": ["animal", "vehicle"], "animal": ["cat", "dog"], …}`` are both taken. A list in a list is a node
            without a name. Nodes that are no one's child have one unnamed root above them.
        classes: the classes' names in the order of their numbers. Leaves are these names, or whole numbers: 3 is the
            class of number 3. None where all leaves are numbers.

    Returns:
        d, (K, K), whole numbers in the default dtype.

    Raises:
        OSError: a file that cannot be read.
        ValueError: what is not JSON, a node with two parents, a cycle, a leaf that is no class, a class that is no
            leaf, or fewer than two classes. The message names the file and the node.

    >>> tree_distances({"animal": [0, 1], "vehicle": [2]})
    tensor([[0., 1., 2.],
            [1., 0., 2.],
            [2., 2., 0.]])

    Source: Bertinetto et al. 2020, section 3.2.
    """
    inner, count = read_tree(tree, classes)
    distances = torch.zeros(count, count)
    for height, leaves in inner:  # a parent before its children, which replace its height among themselves
        at = torch.tensor(leaves)
        distances[at.unsqueeze(1), at] = float(height)
    distances.fill_diagonal_(0.0)
    return distances
