"""Reading scores and labels: every kind of file gives the same numbers, and what cannot be read is named."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import feather
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

from sfumato.evaluate.scores.read_scores import FileError, files_of_run, read_labels, read_scores, seeds_of_run
from sfumato.evaluate.scores.score_matrix import ScoreMatrix

N, K = 40, 7
Z = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
VOTES = np.random.default_rng(1).multinomial(8, [0.5, 0.3, 0.2], size=30)
Q = VOTES / 8


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, K)).astype(np.float32), rng.integers(K, size=N)


def values(found):
    source = ScoreMatrix(logits=found.scores)
    return source.block(0, source.rows)


def write(folder, kind, z, y):
    path = folder / f"scores.{kind}"
    if kind == "npz":
        np.savez(path, logits=z, labels=y)
    elif kind == "compressed.npz":
        np.savez_compressed(path, logits=z, labels=y)
    elif kind == "hf.npz":
        np.savez(path, predictions=z, label_ids=y)
    elif kind == "safetensors":
        save_file({"logits": torch.from_numpy(z), "labels": torch.from_numpy(y)}, path)
    elif kind == "pt":
        torch.save({"logits": torch.from_numpy(z), "labels": torch.from_numpy(y)}, path)
    elif kind == "pair.pt":
        torch.save((torch.from_numpy(z), torch.from_numpy(y)), path)
    elif kind == "csv":
        head = ",".join([*(f"logit_{k}" for k in range(K)), "label"])
        np.savetxt(path, np.column_stack([z, y]), delimiter=",", header=head, comments="", fmt="%.9g")
    elif kind == "tsv":
        head = "\t".join(["y", *(str(k) for k in reversed(range(K)))])
        np.savetxt(path, np.column_stack([y, z[:, ::-1]]), delimiter="\t", header=head, comments="", fmt="%.9g")
    elif kind == "parquet":
        pq.write_table(pa.table({f"logit_{k}": z[:, k] for k in range(K)} | {"label": y}), path)
    elif kind == "feather":
        feather.write_feather(pa.table({f"logit_{k}": z[:, k] for k in range(K)} | {"label": y}), path)
    elif kind == "list.csv":
        rows = "".join(f'{label},"[{" ".join(map(repr, row))}]"\n' for label, row in zip(y, z.tolist(), strict=True))
        path.write_text("label,scores\n" + rows)
    elif kind == "list.parquet":
        pq.write_table(pa.table({"logits": list(z), "label": y}), path)
    return path


KINDS = (
    *("npz", "compressed.npz", "hf.npz", "safetensors", "pt", "pair.pt"),
    *("csv", "tsv", "list.csv", "parquet", "feather", "list.parquet"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_scores_and_labels(kind, scores, tmp_path):
    z, y = scores
    found = read_scores(str(write(tmp_path, kind, z, y)))
    np.testing.assert_allclose(values(found), z, rtol=1e-7)
    np.testing.assert_array_equal(found.labels, y)
    assert found.kind == "logits"


@pytest.mark.parametrize("kind", ["npy", "csv", "parquet", "npz", "pt"])
def test_labels_come_from_a_file_of_their_own(kind, scores, tmp_path):
    _, y = scores
    path = tmp_path / f"labels.{kind}"
    if kind == "npy":
        np.save(path, y)
    elif kind == "csv":
        path.write_text("label\n" + "\n".join(map(str, y)) + "\n")
    elif kind == "parquet":
        pq.write_table(pa.table({"id": np.arange(N).astype(str), "target": y}), path)
    elif kind == "npz":
        np.savez(path, anything=y)
    else:
        torch.save(torch.from_numpy(y), path)
    np.testing.assert_array_equal(read_labels(str(path)), y)


LARGE = [(kind, dtype) for kind in ("npy", "npz") for dtype in ("float16", "float32", "float64", ">f4")]
LARGE += [("safetensors", dtype) for dtype in ("float16", "bfloat16", "float32", "float64")]


@pytest.mark.parametrize(("kind", "dtype"), LARGE)
@pytest.mark.parametrize("system", ["this one", "one without preadv"])
def test_a_large_matrix_stays_in_its_file_and_reads_as_it_was_written(
    kind, dtype, system, scores, tmp_path, monkeypatch
):
    monkeypatch.setattr("sfumato.io.arrays.LARGE", 1)
    if system != "this one":
        monkeypatch.delattr("os.preadv", raising=False)
    z, y = scores
    if kind == "safetensors":
        tensor = torch.from_numpy(z).to(getattr(torch, dtype))
        save_file({"logits": tensor}, tmp_path / "z.safetensors")
        truth = tensor.double().numpy()
    else:
        z = z.astype(dtype)
        truth = z.astype(np.float64)
        np.save(tmp_path / "z.npy", z) if kind == "npy" else np.savez(tmp_path / "z.npz", labels=y, logits=z)
    found = read_scores(str(tmp_path / f"z.{kind}"))
    assert type(found.scores).__name__ == "StoredMatrix"
    np.testing.assert_array_equal(values(found), truth)
    np.testing.assert_array_equal(ScoreMatrix(logits=found.scores).part(7), truth[::7])


def timm(folder, z, *, kind, separate, index, output="prob"):
    """What timm's inference.py writes: file names, and outputs as a list or a column each, sorted if with an index."""
    order = np.argsort(-z, axis=1)
    told = {"filename": [f"img{i}.jpg" for i in range(len(z))]}
    out = np.take_along_axis(z, order, axis=1) if index else z
    if separate:
        if index:
            told |= {f"index_{k}": order[:, k] for k in range(z.shape[1])}
        told |= {f"label_{k}": ["n0144"] * len(z) for k in range(2)}
        told |= {f"{output}_{k}": out[:, k] for k in range(z.shape[1])}
    else:
        if index:
            told["index"] = list(order)
        told["label"] = [["tench", "shark"]] * len(z)
        told[output] = list(out)
    path = folder / f"timm.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(told), path)
    else:
        text = io.StringIO()
        names = list(told)
        text.write(",".join(names) + "\n")
        with np.printoptions(threshold=10**9):
            for i in range(len(z)):
                text.write(",".join(f'"{told[name][i]}"' for name in names) + "\n")
        path.write_text(text.getvalue())
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("index", [False, True])
def test_timms_results_are_put_in_the_order_of_the_classes(kind, separate, index, tmp_path):
    p = np.random.default_rng(1).dirichlet(np.ones(K), size=N).astype(np.float32)
    found = read_scores(str(timm(tmp_path, p, kind=kind, separate=separate, index=index)))
    assert found.kind == "probs"
    assert found.labels is None  # timm's labels are its predictions
    np.testing.assert_allclose(ScoreMatrix(probs=found.scores).block(0, N), p, rtol=1e-6)


def test_timms_logits_are_logits(tmp_path, scores):
    path = timm(tmp_path, scores[0], kind="parquet", separate=True, index=False, output="logit")
    assert read_scores(str(path)).kind == "logits"


def claims_in_its_list():
    """A packed archive whose list of contents says 4 GB of an array of 480 bytes."""
    told = io.BytesIO()
    np.savez_compressed(told, logits=np.ones((12, 5)))
    data = bytearray(told.getvalue())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xFFFFFFFE).to_bytes(4, "little")
    return bytes(data)


def npy():
    file = io.BytesIO()
    np.save(file, np.ones((100, 10)))
    return file.getvalue()


def safetensors_that_disagree():
    head = b'{"logits":{"dtype":"F32","shape":[2,2],"data_offsets":[0,8]}}'
    return len(head).to_bytes(8, "little") + head + bytes(16)


REFUSED = {
    "is empty": lambda p: p.write_bytes(b""),
    "there is no file": lambda p: None,
    "is cut off or damaged": lambda p: (np.savez(p, logits=np.ones((50, 5))), p.write_bytes(p.read_bytes()[:-200])),
    "is a pickle, which is not read because it can run code": lambda p: p.write_bytes(pickle.dumps([1])),
    "logits holds Python objects, which are not read": lambda p: np.savez(
        p, logits=np.array([[1], [2, 3]], dtype=object)
    ),
    "has no logits; it needs an array called logits (or probs), and labels. Arrays: X, y": lambda p: np.savez(
        p, X=np.ones((3, 2)), y=np.arange(3)
    ),
    "must be (N, K), one row of scores each, got shape (3,)": lambda p: np.savez(p, logits=np.ones(3)),
    "has no rows": lambda p: np.savez(p, logits=np.ones((0, 3))),
    "is JSON, which is not read; save the table as CSV or Parquet": lambda p: p.write_text('[{"a": 1, "b": 2}]'),
    "holds predicted classes alone, as the Transformers examples write them": lambda p: p.write_text(
        "index\tprediction\n0\t1\n1\t2\n"
    ),
    'scores.npz, line 3, column "b": "x" is not a number': lambda p: p.write_text("a,b,c\n1,2,3\n4,x,6\n"),
    "line 3: 2 cells, but the header has 3": lambda p: p.write_text("a,b,label\n1,2,3\n4,5\n"),
    "line 2: the label is 1.5, not a class index": lambda p: p.write_text("0,1,label\n1,2,1.5\n"),
    "leave out class 1": lambda p: p.write_text("logit_0,logit_2,label\n1,2,1\n"),
    "is 1e+300, not a class index": lambda p: p.write_text("0,1,label\n1,2,1e300\n"),
    "logits is damaged (type, shape and place do not agree)": lambda p: p.write_bytes(safetensors_that_disagree()),
    "more than it can hold": lambda p: p.write_bytes(claims_in_its_list()),
    "unsupported file format": lambda p: p.write_bytes(b"\0\1\2\3\4\5\6\7\10"),
    "holds Python objects, which are not read because they can run code": lambda p: torch.save(
        {"logits": np.ones((3, 2)), "model": torch.nn.Linear(1, 1)}, p
    ),
    "logits is cut off: it ends at byte": lambda p: (
        save_file({"logits": torch.ones(100, 10)}, p),
        p.write_bytes(p.read_bytes()[:-100]),
    ),
    "is cut off: 8,000 bytes of data were promised and 7,992 are there": lambda p: p.write_bytes(npy()[:-8]),
    "line 2: the list was abbreviated with … when it was written": lambda p: p.write_text(
        'filename,prob\na.jpg,"[0.1 0.2 ... 0.3]"\n'
    ),
    "has label_probs and label_counts; keep one of them": lambda p: np.savez(
        p, logits=Z, label_counts=VOTES, label_probs=Q
    ),
    "label_counts in row 0 have": lambda p: np.savez(p, logits=Z, label_counts=VOTES - 1.5),
    "label_probs in row 0 sum to 8, not to 1; for counts of annotators use": lambda p: np.savez(
        p, logits=Z, label_probs=VOTES
    ),
    "the columns of label_counts leave out class 1": lambda p: p.write_text("0,1,label_count_0,label_count_2\n1,2,1,1"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_read_is_named(message, tmp_path):
    path = tmp_path / "scores.npz"
    REFUSED[message](path)
    with pytest.raises(FileError) as error:
        read_scores(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize(("key", "said", "way_out"), [("logits", "F8_E4M3", "half"), ("labels", "BOOL", "long")])
def test_a_safetensors_type_that_is_not_read_is_named_with_the_way_out(key, said, way_out, tmp_path):
    tensors = {"logits": torch.zeros(4, 3), "labels": torch.zeros(4, dtype=torch.int64), "more": torch.zeros(4).bool()}
    save_file(tensors, tmp_path / "all.safetensors")
    assert read_scores(str(tmp_path / "all.safetensors")).scores.shape == (4, 3)
    path = tmp_path / "z.safetensors"
    save_file(tensors | {key: tensors[key].to(torch.uint8)}, path)
    data = path.read_bytes()  # the oldest safetensors writes no float8: another type of one byte is called so
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    renamed = header.replace(b'"U8"', f'"{said}"'.encode())
    path.write_bytes(len(renamed).to_bytes(8, "little") + renamed + data[8 + len(header) :])
    refused = rf"z.safetensors: {key} has the type {said}, which is not read; save {key}.{way_out}\(\)"
    with pytest.raises(FileError, match=refused):
        read_scores(str(path))


def test_the_best_classes_alone_are_refused_with_the_option_that_writes_all(tmp_path):
    p = np.sort(np.random.default_rng(0).dirichlet(np.ones(9), size=20), axis=1)[:, :3:-1]
    for index in (True, False):
        path = timm(tmp_path, p, kind="parquet", separate=False, index=False)
        if index:
            told = pq.read_table(path).append_column("index", pa.array([[8, 7, 6, 5, 4]] * 20))
            pq.write_table(told, path)
        with pytest.raises(FileError, match="run timm's inference.py with --topk 0"):
            read_scores(str(path))


def test_an_unusual_encoding_of_a_table_is_a_note(tmp_path):
    (tmp_path / "a.csv").write_bytes(("naïve,Hund,label\n" + "0.5,1.5,Hund\n2.5,0.25,naïve\n" * 20).encode("utf-16"))
    found = read_scores(str(tmp_path / "a.csv"))
    assert values(found)[:2].tolist() == [[0.5, 1.5], [2.5, 0.25]]
    assert found.labels[:2].tolist() == [1, 0]
    assert found.notes[0] == {"code": "file-format", "text": "The file was read with UTF-16."}


@pytest.mark.parametrize("names", [("prob_cat", "prob_car"), ("cat", "car"), ("my.p-cat", "my.p-car")])
def test_labels_are_names_of_columns_with_or_without_what_all_columns_begin_with(tmp_path, names):
    for labels in (names, [name.rpartition("_")[2].rpartition("-")[2] for name in names]):
        text = ",".join([*names, "label"]) + "\n" + f"0.5,1.5,{labels[1]}\n2.5,0.25,{labels[0]}\n" * 20
        (tmp_path / "a.csv").write_text(text)
        assert read_scores(str(tmp_path / "a.csv")).labels[:2].tolist() == [1, 0]


def columns(**more):
    return {**{f"logit_{k}": Z[:, k].tolist() for k in range(3)}, **more}


def one_a_class(name, values):
    return {f"{name}_{k}": values[:, k].tolist() for k in range(3)}


def write_csv(path, table):
    lines = [",".join(table), *(",".join(map(repr, row)) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez(p, logits=Z, label_counts=VOTES)),
        ("b.npz", lambda p: np.savez(p, logits=Z, label_probs=Q, other=Z)),
        ("c.safetensors", lambda p: save_numpy({"logits": Z, "label_probs": Q.astype(np.float32)}, p)),
        ("d.safetensors", lambda p: save_numpy({"logits": Z, "label_counts": VOTES}, p)),
        ("e.pt", lambda p: torch.save({"logits": torch.tensor(Z), "label_counts": torch.tensor(VOTES)}, p)),
        ("f.csv", lambda p: write_csv(p, columns(**one_a_class("label_prob", Q)))),
        ("g.csv", lambda p: write_csv(p, columns(**one_a_class("label_counts", VOTES)))),
        ("h.csv", lambda p: write_csv(p, {**one_a_class("label_count", VOTES), **columns(id=list(range(30)))})),
        ("i.parquet", lambda p: pq.write_table(pa.table(columns(label_probs=Q.tolist())), p)),
        ("j.parquet", lambda p: pq.write_table(pa.table(columns(**one_a_class("label_count", VOTES))), p)),
    ],
)  # fmt: skip
def test_a_file_gives_its_scores_and_its_soft_labels(name, write, tmp_path):
    path = tmp_path / name
    write(path)
    found = read_scores(str(path))
    assert (found.kind, found.labels) == ("logits", None)
    scores = found.scores if not hasattr(found.scores, "read") else found.scores.read(0, 30)
    assert np.asarray(scores) == pytest.approx(Z, abs=1e-6)
    assert found.soft.block(slice(None)) == pytest.approx(Q, abs=1e-7)


def test_a_table_of_two_classes_may_have_one_column_of_scores(tmp_path):
    path = tmp_path / "two.csv"
    write_csv(path, {"y_prob": [0.25, 0.75], "label_count_0": [3, 1], "label_count_1": [1, 3]})
    found = read_scores(str(path))
    assert found.scores.read(0, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert found.soft.block(slice(None)).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_hard_labels_beside_soft_ones_are_told_to_be_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, labels=np.zeros(30, int), label_counts=VOTES)
    found = read_scores(str(tmp_path / "a.npz"))
    assert found.labels is None
    assert [note["code"] for note in found.notes] == ["hard-labels-unused"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez(p, label_counts=VOTES, other=Z)),
        ("b.csv", lambda p: write_csv(p, one_a_class("label_prob", Q))),
    ],
)
def test_a_file_of_labels_may_hold_soft_ones_by_their_name(name, write, tmp_path):
    write(tmp_path / name)
    assert read_labels(str(tmp_path / name)).block(slice(None)) == pytest.approx(Q, abs=1e-15)
    np.save(tmp_path / "a.npy", VOTES)
    with pytest.raises(FileError, match=r"got shape \(30, 3\); save soft labels in an npz, as label_probs or"):
        read_labels(str(tmp_path / "a.npy"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logits").mkdir()
    for name in ("b-seed3", "b-seed12", "a-seed3", "a-seed12", "c-seed7-seed3"):
        for part in ("train", "validation", "test"):
            (tmp_path / "logits" / f"{name}-{part}.npz").touch()
    return tmp_path


def test_every_seed_of_every_arm_has_its_test_rows(folder):
    names = {arm: {seed: path.name for seed, path in seeds.items()} for arm, seeds in seeds_of_run(folder).items()}
    assert names == {
        "a": {3: "a-seed3-test.npz", 12: "a-seed12-test.npz"},
        "b": {3: "b-seed3-test.npz", 12: "b-seed12-test.npz"},
        "c-seed7": {3: "c-seed7-seed3-test.npz"},
    }


@pytest.mark.parametrize(("choice", "first"), [("b", "b-seed3"), ("depends", "a-seed3"), (None, "a-seed3")])
def test_the_first_seed_of_the_arm_that_the_verdict_chose_is_audited(folder, choice, first):
    (folder / "summary.json").write_text(json.dumps({"verdict": {"choice": choice}}))
    (path,), (note,) = files_of_run(folder)
    assert path.endswith(f"{first}-test.npz")
    assert note["code"] == "arm-of-run"


def test_a_folder_without_a_summary_is_read_by_name_and_another_folder_is_refused(folder, tmp_path):
    assert files_of_run(folder)[0][0].endswith("a-seed3-test.npz")
    with pytest.raises(FileError, match="is not the folder of a comparison: it has no logits"):
        seeds_of_run(tmp_path / "logits")
