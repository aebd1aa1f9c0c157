"""Trees of classes from JSON files: what is read, and what is refused in which words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf

CLASSES = ["cat", "dog", "car", "plane"]
DISTANCES = torch.tensor([[0.0, 1, 3, 3], [1, 0, 3, 3], [3, 3, 0, 2], [3, 3, 2, 0]])

VEHICLES = {"road": ["car"], "air": ["plane"]}
SAME = {
    "objects in objects": {"animal": ["cat", "dog"], "vehicle": VEHICLES},
    "nodes at the top": {
        "root": ["animal", "vehicle"],
        "animal": ["cat", "dog"],
        "vehicle": ["road", "air"],
        **VEHICLES,
    },
    "children before their parents": {**VEHICLES, "vehicle": ["road", "air"], "animal": ["cat", "dog"]},
    "lists in lists": [["cat", "dog"], [["car"], ["plane"]]],
    "objects in lists": [{"animal": ["cat", "dog"]}, {"vehicle": [{"road": ["car"]}, {"air": ["plane"]}]}],
    "class numbers": {"animal": [0, 1], "vehicle": {"road": [2], "air": [3]}},
    "names and numbers": {"animal": ["cat", 1], "vehicle": {"road": ["car"], "air": [3]}},
}


@pytest.mark.parametrize("form", SAME)
def test_each_way_to_write_a_tree_has_the_same_distances(form: str, tmp_path: Path):
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(SAME[form]), encoding="utf-8")
    assert torch.equal(sf.class_tables.tree_distances(file, classes=CLASSES), DISTANCES)
    assert torch.equal(sf.class_tables.tree_distances(SAME[form], classes=CLASSES), DISTANCES)


def test_a_tree_without_depth_smooths_evenly_over_the_others():
    rows = sf.class_tables.hierarchy([0, 1, 2, 3], 2.0, dtype=torch.float64)
    other = torch.exp(torch.tensor(-2.0, dtype=torch.float64))
    eps = float(3 * other / (1 + 3 * other))
    even = sf.smooth(torch.arange(4), 4, eps, over="others").to_dense(torch.float64)
    torch.testing.assert_close(rows, even, rtol=1e-14, atol=0)


def test_a_chain_of_ten_thousand_nodes_is_read():
    tree: dict[str, Any] = {f"n{i}": [f"n{i + 1}"] for i in range(10_000)}
    tree["n10000"] = [0]
    tree["n0"] = ["n1", 1]
    assert sf.class_tables.tree_distances(tree)[0, 1] == 10_001


ANIMALS = {"animal": ["cat", "dog"]}
REFUSED: list[tuple[Any, list[str] | None, str]] = [
    ({**ANIMALS, "vehicle": ["car"]}, CLASSES, 'has no leaf for class 3, "plane"; every class must be one leaf'),
    ({**ANIMALS, "car": ["plane"]}, CLASSES, 'has no leaf for class 2, "car" (it has children there)'),
    ({"animal": ["cat", "dgo"], "a": ["car", "plane"]}, CLASSES, 'leaf "dgo" is not a class. Did you mean "dog"?'),
    ({**ANIMALS, "a": ["car", "plane"], "plant": []}, CLASSES, 'the leaf "plant" is not a class.'),
    ([["cat", "dog"], [], ["car", "plane"]], CLASSES, "the leaf a list is not a class."),
    ({**ANIMALS, "pet": ["cat"], "a": ["car"]}, CLASSES, '"cat" has two parents, "animal" and "pet"'),
    ({"animal": ["cat", "cat"]}, CLASSES, '"cat" stands twice below "animal"'),
    ({"animal": ["cat", "dog", "pet"], "pet": ["animal"]}, CLASSES, 'has a cycle: "animal" → "pet" → "animal"'),
    ({"animal": ["animal", "cat"]}, CLASSES, 'has a cycle: "animal" → "animal"'),
    ({"animal": ["cat", 0]}, CLASSES, 'has class 0 twice, as "cat" and as class 0'),
    ({"animal": [0, 7]}, CLASSES, "the leaf 7 is no class: there are 4 (0 to 3)"),
    ({"a": [1, 2]}, ["1", "2"], 'leaf 1 may be class number 1, which is called "2", or the class called "1"'),
    ({"animal": ["cat"]}, None, 'the leaf "cat" is no class number: give the names as classes='),
    ({"animal": ["cat", None]}, CLASSES, '"animal" has the child null; a child is a name'),
    ({"animal": [True]}, CLASSES, '"animal" has the child true; a child is a name'),
    ({"animal": 3}, CLASSES, 'what stands below "animal" must be a list or an object'),
    ([0], None, "must have at least 2 classes, got 1"),
    ("", CLASSES, "is not JSON: Expecting value in line 1"),
    ('{"animal": [', CLASSES, "is not JSON: Expecting value in line 1"),
    ('{"a": [0], "a": [1]}', None, 'names the children of "a" twice; write them in one list'),
    ("[" * 100_000, None, "is nested too deeply"),
]


@pytest.mark.parametrize(("tree", "classes", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_what_is_wrong_is_said_with_the_file_and_the_node(tree: Any, classes: Any, message: str, tmp_path: Path):
    file = tmp_path / "tree.json"
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}.*{re.escape(message)}"):
        sf.class_tables.hierarchy(file, 4.0, classes=classes)
