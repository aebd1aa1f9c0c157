"""``sf.load_run``: a run's models say of its own test rows what the run saved, whatever form the rows come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.datasets import load_digits

import sfumato as sf
from sfumato.lab.data import DataError
from sfumato.lab.errors import OptionError
from sfumato.runs.read import ReportError

QUICK = {"folds": 1, "seeds": 3, "epochs": 2, "workers": 1, "quiet": True}
WORDS = ["sun", "rain", "wind", "snow", "fog", "ice"]


def table(rows=240):
    """A table as people write it: decimal commas, a currency, dates, gaps, and levels that are rare."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, rows)
    size = kind + rng.normal(size=rows)
    day = pandas.to_datetime("2023-01-01") + pandas.to_timedelta(rng.integers(0, 700, rows), unit="D")
    city = np.where(np.arange(rows) % 40 == 7, "Rare", np.array(["Oslo", "Rome", "Bern"])[kind])
    return pandas.DataFrame(
        {
            "size": [f"{x:.3f}".replace(".", ",") if x < 3 else "-" for x in size],
            "price": [f"{1000 + 100 * x:.1f}".replace(".", ",") for x in size],
            "city": np.where(np.arange(rows) % 11 == 3, "", city),
            "seen": [f"{each:%d/%m/%Y}" for each in day],
            "count": rng.integers(0, 9, rows),
            "kind": np.array(["no", "yes", "maybe"])[kind],
        }
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on a mixed table, on texts, on pictures and on a folder of photos, and the rows that they read."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    table().to_csv(folder / "mixed.csv", sep=";", index=False)
    sf.compare(folder / "mixed.csv", "kind", model="mlp", out=folder / "mixed", **QUICK)
    label = np.arange(120) % 2
    texts = [" ".join(rng.choice(WORDS[2 * k :][:4], 6)) for k in label]
    pandas.DataFrame({"title": texts, "body": texts[::-1], "label": label}).to_csv(folder / "texts.csv", index=False)
    sf.compare(folder / "texts.csv", text=["title", "body"], out=folder / "texts", **QUICK)
    pictures = (
        rng.integers(0, 200, (90, 3, 16, 16), np.uint8) + (np.arange(90) % 3 * 20).astype(np.uint8)[:, None, None, None]
    )
    np.savez(folder / "pictures.npz", X=pictures, y=np.arange(90) % 3 > 1)
    sf.compare(folder / "pictures.npz", out=folder / "pictures", **QUICK)
    for i in range(60):  # of many sizes, grey and in colours, as JPEG and PNG
        photo = folder / "photos-of" / ["cat", "dog"][i % 2] / f"{i}.{'png' if i % 3 else 'jpg'}"
        photo.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 200, (40 + i, 70, 3), np.uint8) + np.uint8(50 * (i % 2))
        Image.fromarray(pixels[..., 0] if i % 5 == 0 else pixels).save(photo)
    sf.compare(folder / "photos-of", image_size=24, out=folder / "photos", **QUICK)
    numbers = pandas.DataFrame(rng.normal(size=(90, 3)), columns=["a", "b", "c"]).assign(y=np.arange(90) % 3)
    sf.compare(numbers, out=folder / "numbers", **{**QUICK, "model": "linear"})
    numbers.to_csv(folder / "numbers.csv", index=False)
    return folder


def saved(run, model):
    """Rows of the test part, and the probabilities that the saved logits and the fitted temperature give them."""
    with np.load(run / "logits" / f"{model.arm}-seed{model.seed}-test.npz") as file:
        return file["index"], softmax(file["logits"].astype(np.float64) / model.temperature, axis=1)


def assert_as_saved(run, given, **which):
    model = sf.load_run(run, **which)
    rows, p = saved(run, model)
    assert np.abs(model.predict_proba(given(rows)) - p).max() < 1e-6
    return model


def test_models_of_the_digits_say_what_the_run_saved(digits):
    x, y = load_digits(return_X_y=True)
    run = digits.folder / digits.json()["run"]
    model = assert_as_saved(run, lambda rows: x[rows])
    assert model.arm == "smoothed"
    assert_as_saved(run, lambda rows: x[rows].reshape(-1, 8, 8), arm="one-hot", seed=4)
    assert (model.predict(x) == y).mean() > 0.98


def as_dicts(rows):
    return [{name: cell for name, cell in row.items() if cell != ""} for row in table().iloc[rows].to_dict("records")]


def as_csv(rows, folder):
    table().drop(columns="kind").iloc[rows].to_csv(folder / "new.csv", sep=";", index=False)
    return folder / "new.csv"


def typed(rows):
    """The table with its numbers and dates as such, not as texts."""
    made = table().iloc[rows]
    size = made["size"].where(made["size"] != "-").str.replace(",", ".").astype(float)
    price = made["price"].str.replace(",", ".").astype(float)
    return made.assign(size=size, price=price, seen=pandas.to_datetime(made["seen"], dayfirst=True))


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda rows, folder: table().iloc[rows], id="frame of texts"),
        pytest.param(lambda rows, folder: typed(rows), id="frame of numbers"),
        pytest.param(lambda rows, folder: pa.Table.from_pandas(typed(rows)), id="arrow"),
        pytest.param(lambda rows, folder: table().iloc[rows, ::-1].astype({"city": "category"}), id="other order"),
        pytest.param(lambda rows, folder: as_dicts(rows), id="dicts"),
        pytest.param(as_csv, id="path"),
    ],
)
def test_models_of_a_mixed_table_say_what_the_run_saved(form, runs, tmp_path):
    assert_as_saved(runs / "mixed", lambda rows: form(rows, tmp_path), arm="smoothed", seed=1)


def test_one_row_is_read_as_it_is_among_others(runs):
    model = sf.load_run(runs / "mixed", arm="smoothed")
    rows, p = saved(runs / "mixed", model)
    alone = [model.predict_proba(as_dicts([row])[0])[0] for row in rows[:20]]  # most dates could be read two ways
    assert np.abs(alone - p[:20]).max() < 1e-6


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.to_numpy(), lambda x: torch.tensor(x.to_numpy())])
def test_models_of_a_table_of_numbers_say_what_the_run_saved(form, runs):
    x = pandas.read_csv(runs / "numbers.csv").drop(columns="y")
    assert_as_saved(runs / "numbers", lambda rows: form(x.iloc[rows]), arm="one-hot", seed=2)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.to_dict("records"), lambda x: pa.Table.from_pandas(x)])
def test_models_of_texts_say_what_the_run_saved(form, runs):
    x = pandas.read_csv(runs / "texts.csv")
    assert_as_saved(runs / "texts", lambda rows: form(x.iloc[rows]), arm="smoothed")


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.transpose(0, 2, 3, 1)])
def test_models_of_pictures_say_what_the_run_saved(form, runs, tmp_path):
    with np.load(runs / "pictures.npz") as file:
        x = file["X"]
    model = assert_as_saved(runs / "pictures", lambda rows: form(x[rows]), arm="smoothed")
    np.savez(tmp_path / "new.npz", X=x)
    assert np.array_equal(model.predict_proba(tmp_path / "new.npz"), model.predict_proba(x))


def test_models_of_a_folder_of_photos_say_what_the_run_saved(runs):
    photos = runs / "photos-of"
    paths = sorted(photos.rglob("*.*"))  # the order in which compare reads them
    model = assert_as_saved(runs / "photos", lambda rows: [paths[row] for row in rows], arm="smoothed", seed=1)
    assert np.array_equal(model.predict_proba(photos), model.predict_proba(paths))
    one = model.predict_proba(paths[7])
    assert np.abs(one - model.predict_proba(paths)[7]).max() < 1e-6
    assert set(model.predict(photos)) <= {"cat", "dog"}


def test_a_word_that_training_did_not_know_counts_as_a_rare_one(runs):
    model = sf.load_run(runs / "mixed", arm="smoothed")
    row = as_dicts([0])[0]
    unseen, rare = (model.logits({**row, "city": city}) for city in ("Atlantis", "Rare"))
    assert np.array_equal(unseen, rare)
    assert not np.array_equal(unseen, model.logits({**row, "city": "Oslo"}))


@pytest.mark.parametrize(
    ("run", "classes"),
    [("mixed", ["maybe", "no", "yes"]), ("numbers", [0, 1, 2]), ("pictures", [False, True]), ("texts", [0, 1])],
)
def test_classes_are_what_the_labels_were(run, classes, runs):
    assert sf.load_run(runs / run, arm="one-hot").classes_.tolist() == classes


def test_the_likeliest_class_is_predicted(runs):
    model = sf.load_run(runs / "mixed", arm="smoothed")
    p = model.predict_proba(table())
    assert np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert np.array_equal(model.predict(table()), model.classes_[p.argmax(axis=1)])


def test_its_repr_says_what_it_is(runs):
    model = sf.load_run(runs / "mixed", arm="smoothed", seed=2)
    told = f"mlp of arm 'smoothed', seed 2, temperature {model.temperature:.3g}; 3 classes"
    assert repr(model) == f"RunModel({str(runs / 'mixed')!r}: {told})"


ROW = as_dicts([0])[0]


def test_rows_of_another_kind_are_refused_by_their_column(runs):
    model = sf.load_run(runs / "mixed", arm="one-hot")
    with pytest.raises(DataError, match='^X, row 1: column "size" holds "large", which is not a number with a decimal'):
        model.predict([ROW, {**ROW, "size": "large"}])
    with pytest.raises(DataError, match='^column "city" of X holds values of several types'):
        model.predict([{**ROW, "city": 1}, {**ROW, "city": "a"}])


@pytest.fixture
def copy(runs, tmp_path):
    shutil.copytree(runs / "numbers", tmp_path / "run")
    return tmp_path / "run"


def changed(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ({"arm": "hard"}, ' has no arm "hard". Arms: one-hot, smoothed'),
        ({"arm": "smoothed", "seed": 3}, " has no seed 3; its seeds are 0, 1, 2"),
        ({"arm": "smoothed", "model": "mine:make"}, ' trained "linear", not "mine:make"; leave model out'),
    ],
)
def test_a_model_that_the_run_lacks_is_refused(which, text, runs):
    with pytest.raises(OptionError) as refused:
        sf.load_run(runs / "numbers", **which)
    assert str(refused.value) == f"{runs / 'numbers'}{text}"


def test_where_the_verdict_chooses_no_arm_one_must_be_named(copy):
    changed(copy / "summary.json", lambda summary: summary["verdict"].update(choice="depends"))
    with pytest.raises(OptionError) as refused:
        sf.load_run(copy)
    told = f'the verdict of {copy} is "depends", which chooses no arm; name one with arm=: one-hot, smoothed'
    assert str(refused.value).startswith(told)
    assert sf.load_run(copy, arm="smoothed").arm == "smoothed"


def test_code_that_a_folder_names_is_not_run_unless_its_reader_names_it_too(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("foreign.py").write_text(
        "import torch\nopen('ran', 'w')\n\ndef make(shape, classes):\n    return torch.nn.Linear(*shape, classes)\n"
    )
    changed(copy / "env.json", lambda env: env["model"].update(name="foreign:make"))
    with pytest.raises(
        OptionError, match='trained "foreign:make", which is code outside sfumato; to run it, say load_run'
    ):
        sf.load_run(copy, arm="smoothed")
    assert not Path("ran").exists()


def test_a_model_of_ones_own_is_named_and_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_model.py").write_text(
        "import torch\n\ndef make(shape, classes):\n    return torch.nn.Linear(*shape, classes)\n"
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    run = sf.compare(x, y, out="run", **{**QUICK, "model": "own_model:make"}).folder
    assert_as_saved(run, lambda rows: x[rows], arm="smoothed", model="own_model:make")


def test_a_run_without_its_encoding_is_refused_with_the_way_out(copy):
    (copy / "encoding.json").unlink()
    with pytest.raises(ReportError) as refused:
        sf.load_run(copy, arm="smoothed")
    assert str(refused.value).startswith(f"{copy / 'encoding.json'} is missing, so the models cannot read")


@pytest.mark.parametrize(
    ("file", "change", "text"),
    [
        ("encoding.json", lambda e: e.update(schema="sfumato.encoding/9"), "has the schema 'sfumato.encoding/9'"),
        ("encoding.json", lambda e: e["columns"][0].pop("mean"), "column 'a' lacks mean"),
        ("encoding.json", lambda e: e["columns"][0].update(mean="x"), "'mean' should be "),
        ("encoding.json", lambda e: e["columns"].pop(), "the columns make 2 features, not 3"),
        ("env.json", lambda e: e["model"].update(name="mlp"), "but the model of the run has"),
        ("env.json", lambda e: e["data"].update(class_names=["0"]), "names 1 classes, and there are 3"),
        ("env.json", lambda e: e["temperatures"]["smoothed"][0].update(value=-1.0), "is -1, not above 0"),
    ],
)
def test_a_broken_folder_is_refused_with_the_file_and_the_place(file, change, text, copy):
    changed(copy / file, change)
    with pytest.raises(ReportError) as refused:
        sf.load_run(copy, arm="smoothed")
    assert text in str(refused.value)
    assert str(copy) in str(refused.value)


def test_weights_that_are_gone_or_damaged_are_named(copy):
    path = copy / "weights" / "smoothed-seed0.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ReportError, match=r"smoothed-seed0.safetensors cannot be read: "):
        sf.load_run(copy, arm="smoothed")
    path.unlink()
    with pytest.raises(ReportError, match=r"smoothed-seed0.safetensors is missing: the run is incomplete"):
        sf.load_run(copy, arm="smoothed")
