"""Soft labels that an npz file has by their names, alone or beside class indices."""

import numpy as np
import pytest

from sfumato import messages
from sfumato.lab.data import DataError, Roles, prepare

X = np.random.default_rng(0).normal(size=(60, 2))
VOTES = np.random.default_rng(1).multinomial(7, [0.4, 0.35, 0.25], size=60)


def table_of(folder, label=None, **arrays):
    np.savez(folder / "things.npz", X=X, **arrays)
    return prepare(str(folder / "things.npz"), Roles(label=label))


@pytest.mark.parametrize(("name", "values"), [("label_counts", VOTES), ("label_probs", VOTES / 7)])
def test_soft_labels_alone_give_the_labels_too(name, values, tmp_path):
    data = table_of(tmp_path, **{name: values})
    assert data.table.soft == pytest.approx(VOTES / 7, abs=1e-15)
    assert data.table.labels.tolist() == VOTES.argmax(axis=1).tolist()
    assert "is the label that one-hot trains on and accuracy takes" in " ".join(messages.texts(data.notes))


@pytest.mark.parametrize(("name", "label"), [("y", None), ("Y", None), ("kind", "kind")])
def test_class_indices_beside_them_are_what_one_hot_trains_on(tmp_path, name, label):
    y = np.arange(60) % 3
    data = table_of(tmp_path, label=label, label_counts=VOTES, **{name: y})
    assert data.table.labels.tolist() == y.tolist()
    assert data.table.soft == pytest.approx(VOTES / 7, abs=1e-15)
    told = " ".join(messages.texts(data.notes))
    assert "one-hot trains on the labels beside them, and accuracy takes the likeliest class" in told


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label_counts": VOTES, "label_probs": VOTES / 7}, "things.npz has label_probs and label_counts; keep one"),
        (
            {"label_counts": np.where(np.arange(60)[:, None] == 4, 0, VOTES)},
            "label_counts in row 4 are all 0; leave out",
        ),
        ({"label_counts": -VOTES}, "things.npz: label_counts in row 0 have -"),
        ({"label_probs": VOTES}, "things.npz: label_probs in row 0 sum to 7, not to 1; for counts"),
        ({"label_counts": VOTES[:50]}, "X has 60 rows but the soft labels have 50"),
        ({"y": np.arange(60) % 3, "label_counts": VOTES[:50]}, "X has 60 rows but the soft labels have 50"),
        ({"y": np.arange(60) % 4, "label_counts": VOTES}, r"y\[3\] is 3, and the soft labels have the classes 0 to 2"),
        ({"y": np.full(60, "a"), "label_counts": VOTES}, "next to soft labels it must be class indices"),
    ],
)
def test_soft_labels_that_cannot_be_used_are_refused(arrays, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, **arrays)
