"""Texts as TF-IDF: against scikit-learn's own numbers, from training rows alone."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sfumato.lab.data import DataError, Roles, prepare, texts

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def write(path, rows=120, extra=()):
    rng = np.random.default_rng(0)
    made = [" ".join(rng.choice(WORDS[5 * (i % 2) :][:7], 8)) for i in range(rows)]
    made[0] = "only\nthese, here"
    lines = [f'"{text}",{"ab"[i % 2]},{i}' for i, text in enumerate([*made, *extra])]
    path.write_text("\n".join(["words,label,number", *lines]) + "\n")
    return str(path), [*made, *extra]


def dense(packed, vocabulary):
    out = np.zeros((len(packed), vocabulary))
    length = packed.shape[1] // 2
    for row, cells in enumerate(packed):
        np.add.at(out[row], cells[:length].astype(int), cells[length:])
    return out


def test_texts_are_scikit_learns_tf_idf_of_the_training_rows(tmp_path):
    source, rows = write(tmp_path / "made.csv")
    data = prepare(source, Roles(text="words"))
    oracle = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", min_df=2, max_features=texts.VOCABULARY)
    oracle.fit([rows[i] for i in data.split.train])
    assert data.inputs.width == len(oracle.vocabulary_)
    for part in ("train", "validation", "test"):
        expected = oracle.transform([rows[i] for i in getattr(data.split, part)]).toarray()
        assert np.allclose(dense(data.arrays(part)[0], data.inputs.width), expected, atol=1e-6)


def test_a_row_longer_than_the_limit_keeps_its_heaviest_terms(tmp_path, monkeypatch):
    source, _ = write(tmp_path / "made.csv")
    whole = prepare(source, Roles(text="words"))
    monkeypatch.setattr(texts, "ROW_TERMS", 3)
    cut = prepare(source, Roles(text="words"))
    assert cut.inputs.shape == (6,)
    one, two = (dense(data.arrays("test")[0], whole.inputs.width) for data in (whole, cut))
    for a, b in zip(one, two, strict=True):
        assert np.allclose(np.sort(b)[-3:], np.sort(a)[-3:])
        assert np.count_nonzero(b) == min(3, np.count_nonzero(a))
    assert "hold more than 3 distinct terms; those of least weight are cut." in " ".join(cut.notes)


def test_texts_that_differ_in_white_space_alone_are_never_on_both_sides(tmp_path):
    source, rows = write(tmp_path / "made.csv", extra=["twice  told tale", "twice told\ttale "])
    data = prepare(source, Roles(text="words"))
    assert data.split.duplicates >= 1
    parts = {i: part for part in ("train", "validation", "test") for i in getattr(data.split, part).tolist()}
    assert parts[len(rows) - 2] == parts[len(rows) - 1]


def test_other_columns_are_not_used_and_that_is_said(tmp_path):
    source, _ = write(tmp_path / "made.csv")
    assert "With --text, other columns are not used: number." in prepare(source, Roles(text="words")).notes


def test_of_many_other_columns_eight_are_named(tmp_path):
    source = tmp_path / "made.csv"
    names = [f"n{i}" for i in range(9)]
    rows = [f"word of row {i},{'ab'[i % 2]},{','.join(str(i * j) for j in range(9))}" for i in range(20)]
    source.write_text("\n".join([f"words,label,{','.join(names)}", *rows]) + "\n")
    notes = prepare(str(source), Roles(text="words", label="label")).notes
    assert f"With --text, other columns are not used: {', '.join(names[:8])} and 1 more." in notes


@pytest.mark.parametrize("columns", ["words,number", "words, number"])
def test_several_text_columns_are_joined(tmp_path, columns):
    source, _ = write(tmp_path / "made.csv")
    data = prepare(source, Roles(text=columns))
    assert data.table.features.texts[0] == "only\nthese, here\n0"


def test_texts_without_a_known_term_are_counted(tmp_path):
    source, _ = write(tmp_path / "made.csv", extra=["", "", "unheard"])
    assert "hold no term of the vocabulary: the model can only guess there." in " ".join(
        prepare(source, Roles(text="words")).notes
    )


def test_a_column_without_words_is_refused_as_text(tmp_path):
    source, _ = write(tmp_path / "made.csv")
    with pytest.raises(DataError) as caught:
        prepare(source, Roles(text="number", label="label"))
    assert str(caught.value) == (
        "made: no word of two letters or more is in two training texts; is this the text column?"
    )


def test_an_article_longer_than_pythons_limit_for_a_cell_is_read(tmp_path):
    source, _ = write(tmp_path / "made.csv", extra=["alpha beta " * 20_000])
    assert len(prepare(source, Roles(text="words")).table.labels) == 121


def test_texts_in_an_archive_are_read(tmp_path):
    _, rows = write(tmp_path / "made.csv")
    np.savez(tmp_path / "made.npz", X=np.array(rows), y=np.arange(len(rows)) % 2)
    assert prepare(str(tmp_path / "made.npz")).inputs.kind == "sparse"
