"""Rows from a tree of classes: mistakes within a branch are milder than mistakes between branches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sfumato.class_tables.tables import check_above_zero, falling
from sfumato.targets.checks import ArgumentError
from sfumato.text import did_you_mean

Node: TypeAlias = str | int | object
"""A name, a class number, or a list, which has no name and is a plain object here."""


def hierarchy(
    tree: str | Path | Any, beta: float, *, classes: Sequence[str] | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    r"""Rows R, (K, K), for the leaves of a tree: the mass falls with the height of the branch that two classes share.

    .. math:: R_{y,k} = \frac{\exp(-\beta\,d(k,y)/d_{max})}{\sum_j \exp(-\beta\,d(j,y)/d_{max})}

    ``tree`` and ``classes`` are those of :func:`tree_distances`, and so are errors; β is above 0 and finite: at β → ∞
    the rows are one-hot, at β → 0 uniform. The paper tries 4 to 30. Rows are computed in float64; None is the default
    dtype.

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
    r"""How far apart the leaves of a tree are, (K, K): the height of the lowest node above both.

    .. math:: d(k, y) = \mathrm{height}(\mathrm{lca}(k, y)), \qquad d(y, y) = 0

    The height of a node is the number of steps to the farthest leaf below it. ``tree`` is a JSON file, or what such a
    file holds. An object names nodes and has their children: in a list, or in an object that goes on. ``{"animal":
    ["cat", "dog"], "vehicle": {"road": ["car", "lorry"]}}`` and ``{"root": ["animal", "vehicle"], "animal": ["cat",
    "dog"], …}`` are both taken. A list in a list is a node without a name. Nodes that are no one's child have one
    unnamed root above them. Leaves are ``classes``, the names in the order of their numbers, or whole numbers: 3 is the
    class of number 3. Without ``classes`` all leaves are numbers.

    OSError: a file that cannot be read. ValueError names the file and the node: what is not JSON, a node with two
    parents, a cycle, a leaf that is no class, a class that is no leaf, or fewer than two classes.

    >>> tree_distances({"animal": [0, 1], "vehicle": [2]})
    tensor([[0., 1., 2.],
            [1., 0., 2.],
            [2., 2., 0.]])

    Source: Bertinetto et al. 2020, section 3.2.
    """
    name = "the tree"
    if isinstance(tree, str | Path):
        name = str(tree)
        tree = _parsed(Path(tree).read_text(encoding="utf-8-sig"), name)
    edges = _Edges(name)
    edges.read(None, tree)
    order = edges.children_first()
    leaves = [node for node, children in edges.children.items() if not children]
    numbers = _numbered(leaves, classes, edges)
    below: dict[Node, list[int]] = {}
    height: dict[Node, int] = {}
    for node in order:
        children = edges.children[node]
        below[node] = [number for child in children for number in below[child]] if children else [numbers[node]]
        height[node] = 1 + max(height[child] for child in children) if children else 0
    distances = torch.zeros(len(leaves), len(leaves))
    for node in reversed(order):  # a parent before its children, which replace its height among themselves
        at = torch.tensor(below[node])
        distances[at.unsqueeze(1), at] = float(height[node])
    return distances.fill_diagonal_(0.0)


def _parsed(text: str, name: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise ArgumentError(f'{name} names the children of "{key}" twice; write them in one list')
            seen[key] = value
        return seen

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"{name} is not JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise ArgumentError(f"{name} is nested too deeply; write each node and its children at the top") from None


class _Edges:
    """Who is whose child, as the file called ``name`` says it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: dict[Node, list[Node]] = {}
        self.parent: dict[Node, Node] = {}

    def read(self, above: Node | None, value: Any) -> None:
        """What is below a node; None is the top of the file."""
        if isinstance(value, dict):
            for key, inside in value.items():
                self._add(above, str(key))
                self.read(str(key), inside)
            return
        if not isinstance(value, list):
            what = "the top" if above is None else f"what stands below {shown(above)}"
            got = json.dumps(value, default=str)
            raise ArgumentError(f"{self.name}: {what} must be a list or an object, got {got}")
        here = object() if above is None else above
        for item in value:
            if isinstance(item, list):
                inner = object()
                self._add(here, inner)
                self.read(inner, item)
            elif isinstance(item, dict):
                self.read(here, item)
            elif isinstance(item, str) or type(item) is int:
                self._add(here, item)
            else:
                got = f"{shown(here)} has the child {json.dumps(item, default=str)}"
                raise ArgumentError(f"{self.name}: {got}; a child is a name or a whole number")

    def _add(self, above: Node | None, child: Node) -> None:
        self.children.setdefault(child, [])
        if above is None:
            return
        if child in self.parent:
            first, second = shown(self.parent[child]), shown(above)
            twice = f"stands twice below {first}" if first == second else f"has two parents, {first} and {second}"
            raise ArgumentError(f"{self.name}: {shown(child)} {twice}; in a tree every node stands below one other")
        self.parent[child] = above
        self.children.setdefault(above, []).append(child)

    def children_first(self) -> list[Node]:
        """All nodes, each after its children, below one root; a cycle is an error."""
        roots = [node for node in self.children if node not in self.parent]
        if len(roots) > 1:
            self.children[object()] = roots
        try:
            return list(TopologicalSorter(self.children).static_order())
        except CycleError as error:
            around = " → ".join(shown(each) for each in reversed(error.args[1]))
            raise ArgumentError(f"{self.name} has a cycle: {around}") from None


def shown(node: Node) -> str:
    """A node as a message names it."""
    return f'"{node}"' if isinstance(node, str) else f"class {node}" if isinstance(node, int) else "a list"


def _numbered(leaves: list[Node], classes: Sequence[str] | None, edges: _Edges) -> dict[Node, int]:
    """The class number of each leaf; every class is one leaf."""
    name = edges.name
    if classes is None and (leaf := next((leaf for leaf in leaves if not isinstance(leaf, int)), None)) is not None:
        raise ArgumentError(f"{name}: the leaf {shown(leaf)} is no class number: give the names as classes=")
    names = [str(each) for each in (range(len(leaves)) if classes is None else classes)]
    number: dict[Node, int] = {each: k for k, each in enumerate(names)}
    found: dict[int, Node] = {}
    for leaf in leaves:
        k = leaf if isinstance(leaf, int) else number.get(leaf)
        if k is None:
            near = did_you_mean(leaf, names) if isinstance(leaf, str) else ""
            raise ArgumentError(f"{name}: the leaf {shown(leaf)} is not a class.{near}")
        if not 0 <= k < len(names):
            raise ArgumentError(f"{name}: the leaf {leaf} is no class: there are {len(names)} (0 to {len(names) - 1})")
        if isinstance(leaf, int) and number.get(str(leaf), k) != k:
            raise ArgumentError(
                f'{name}: the leaf {leaf} may be class number {leaf}, which is called "{names[k]}", or the class '
                f'called "{leaf}"; write names in quotes'
            )
        if k in found:
            raise ArgumentError(f"{name} has class {k} twice, as {shown(found[k])} and as {shown(leaf)}")
        found[k] = leaf
    if (k := next((k for k in range(len(names)) if k not in found), None)) is not None:
        inner = " (it has children there)" if edges.children.get(names[k]) else ""
        raise ArgumentError(f'{name} has no leaf for class {k}, "{names[k]}"{inner}; every class must be one leaf')
    if len(names) < 2:
        raise ArgumentError(f"{name} must have at least 2 classes, got {len(names)}")
    return {leaf: k for k, leaf in found.items()}
