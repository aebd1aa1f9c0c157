"""Rows from a tree of classes: mistakes within a branch are milder than mistakes between branches.

Whatever way the file of the tree is written, it comes down to edges from parents to children; all checks are made on
these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sfumato.class_tables.distances import check_above_zero, falling
from sfumato.targets.checks import ArgumentError
from sfumato.text import did_you_mean

Node: TypeAlias = "str | int | _Unnamed"
"""A name, a class number, or a node without a name."""


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
    inner, count = _read_tree(tree, classes)
    distances = torch.zeros(count, count)
    for height, leaves in inner:  # a parent before its children, which replace its height among themselves
        at = torch.tensor(leaves)
        distances[at.unsqueeze(1), at] = float(height)
    distances.fill_diagonal_(0.0)
    return distances


@dataclass(frozen=True)
class _Unnamed:
    number: int


def _read_tree(tree: str | Path | Any, classes: Sequence[str] | None) -> tuple[list[tuple[int, list[int]]], int]:
    """The height of each inner node and the classes below it, each parent before its children; and K."""
    name = "the tree"
    if isinstance(tree, str | Path):
        name = str(tree)
        tree = _parsed(Path(tree).read_text(encoding="utf-8-sig"), name)
    edges = _Edges(name)
    edges.read(None, tree)
    order = edges.from_the_root()
    leaves = [node for node in order if not edges.children.get(node)]
    numbers = _numbered(leaves, classes, edges)
    below: dict[Node, list[int]] = {}
    height: dict[Node, int] = {}
    for node in reversed(order):  # children before their parent
        children = edges.children.get(node, [])
        below[node] = [number for child in children for number in below[child]] if children else [numbers[node]]
        height[node] = 1 + max(height[child] for child in children) if children else 0
    return [(height[node], below[node]) for node in order if height[node]], len(leaves)


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
        raise ArgumentError(
            f"{name} is nested too deeply; write each node and its children at the top instead"
        ) from None


@dataclass
class _Edges:
    """Who is whose child, as the file says it."""

    name: str
    children: dict[Node, list[Node]] = field(default_factory=dict[Node, list[Node]])
    parent: dict[Node, Node] = field(default_factory=dict[Node, Node])
    unnamed: int = 0

    def read(self, above: Node | None, value: Any) -> None:
        """What stands below a node; None is the top of the file."""
        if isinstance(value, dict):
            for key, inside in value.items():
                self._add(above, str(key))
                self.read(str(key), inside)
        elif isinstance(value, list):
            here = self._unnamed() if above is None else above
            for item in value:
                if isinstance(item, list):
                    inner = self._unnamed()
                    self._add(here, inner)
                    self.read(inner, item)
                elif isinstance(item, dict):
                    self.read(here, item)
                elif isinstance(item, str) or (isinstance(item, int) and not isinstance(item, bool)):
                    self._add(here, item)
                else:
                    got = f"{self.shown(here)} has the child {json.dumps(item, default=str)}"
                    raise ArgumentError(f"{self.name}: {got}; a child is a name or a whole number")
        else:
            what = "the top" if above is None else f"what stands below {self.shown(above)}"
            raise ArgumentError(
                f"{self.name}: {what} must be a list or an object, got {json.dumps(value, default=str)}"
            )

    def _unnamed(self) -> Node:
        self.unnamed += 1
        return _Unnamed(self.unnamed)

    def _add(self, above: Node | None, child: Node) -> None:
        self.children.setdefault(child, [])
        if above is None:
            return
        if child in self.parent:
            first, second = self.shown(self.parent[child]), self.shown(above)
            twice = f"stands twice below {first}" if first == second else f"has two parents, {first} and {second}"
            raise ArgumentError(
                f"{self.name}: {self.shown(child)} {twice}; in a tree every node stands below one other"
            )
        self.parent[child] = above
        self.children.setdefault(above, []).append(child)

    def shown(self, node: Node) -> str:
        """A node as a message names it."""
        return f'"{node}"' if isinstance(node, str) else f"class {node}" if isinstance(node, int) else "a list"

    def from_the_root(self) -> list[Node]:
        """All nodes, each parent before its children; nodes that no root leads to are a cycle, and an error."""
        roots = [node for node in self.children if node not in self.parent]
        if len(roots) > 1:
            top = self._unnamed()
            self.children[top] = roots
            roots = [top]
        order = list(roots)
        for node in order:  # grows while it is read
            order += self.children[node]
        reached = set(order)
        lost = next((node for node in self.children if node not in reached), None)
        if lost is not None:
            raise ArgumentError(f"{self.name} has a cycle: {self._cycle(lost)}")
        return order

    def _cycle(self, node: Node) -> str:
        path = [node]
        while self.parent[path[-1]] not in path:
            path.append(self.parent[path[-1]])
        around = path[path.index(self.parent[path[-1]]) :][::-1]
        return " → ".join(self.shown(each) for each in [*around, around[0]])


def _numbered(leaves: list[Node], classes: Sequence[str] | None, edges: _Edges) -> dict[Node, int]:
    """The class number of each leaf; every class is one leaf."""
    name = edges.name
    if classes is None:
        if (leaf := next((leaf for leaf in leaves if not isinstance(leaf, int)), None)) is not None:
            raise ArgumentError(f"{name}: the leaf {edges.shown(leaf)} is no class number: give the names as classes=")
        names = [str(k) for k in range(len(leaves))]
    else:
        names = [str(each) for each in classes]
    number = {each: k for k, each in enumerate(names)}
    found: dict[int, Node] = {}
    for leaf in leaves:
        if isinstance(leaf, int):
            k = leaf
            if not 0 <= k < len(names):
                raise ArgumentError(
                    f"{name}: the leaf {leaf} is no class: there are {len(names)} (0 to {len(names) - 1})"
                )
            if number.get(str(leaf), k) != k:
                raise ArgumentError(
                    f'{name}: the leaf {leaf} may be class number {leaf}, which is called "{names[k]}", or the class '
                    f'called "{leaf}"; write names in quotes'
                )
        elif isinstance(leaf, str) and leaf in number:
            k = number[leaf]
        else:
            near = did_you_mean(str(leaf), names) if isinstance(leaf, str) else ""
            raise ArgumentError(f"{name}: the leaf {edges.shown(leaf)} is not a class.{near}")
        if k in found:
            raise ArgumentError(f"{name} has class {k} twice, as {edges.shown(found[k])} and as {edges.shown(leaf)}")
        found[k] = leaf
    missing = [k for k in range(len(names)) if k not in found]
    if missing:
        k = missing[0]
        inner = " (it has children there)" if edges.children.get(names[k]) else ""
        raise ArgumentError(f'{name} has no leaf for class {k}, "{names[k]}"{inner}; every class must be one leaf')
    if len(names) < 2:
        raise ArgumentError(f"{name} must have at least 2 classes, got {len(names)}")
    return {leaf: k for k, leaf in found.items()}
