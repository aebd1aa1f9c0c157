"""Texts as TF-IDF, against scikit-learn's own numbers, from training rows alone; and as a language model's tokens."""

import importlib.util
import logging
from dataclasses import replace

import numpy as np
import pandas
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare
from sfumato.lab.data.new_rows import encode_new
from sfumato.lab.data.prepare import prepare_table
from sfumato.lab.data.text import MAX_TERMS, Texts, transform_terms, transform_tokens
from tests.lab.data import refused

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
    oracle = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", min_df=2, max_features=MAX_TERMS)
    oracle.fit([rows[i] for i in data.split.train])
    assert data.inputs.width == len(oracle.vocabulary_)
    for part in ("train", "validation", "test"):
        expected = oracle.transform([rows[i] for i in getattr(data.split, part)]).toarray()
        assert np.allclose(dense(data.arrays(part)[0], data.inputs.width), expected, atol=1e-6)


def test_a_row_longer_than_the_limit_keeps_its_heaviest_terms(tmp_path):
    source, _ = write(tmp_path / "made.csv")
    table = load(source, Roles(text="words"))
    whole, cut = (prepare_table(replace(table, features=replace(table.features, max_row_terms=n))) for n in (512, 3))
    assert cut.inputs.shape == (6,)
    one, two = (dense(data.arrays("test")[0], whole.inputs.width) for data in (whole, cut))
    for a, b in zip(one, two, strict=True):
        assert np.allclose(np.sort(b)[-3:], np.sort(a)[-3:])
        assert np.count_nonzero(b) == min(3, np.count_nonzero(a))
    assert "hold more than 3 distinct terms; those of least weight are cut." in " ".join(messages.texts(cut.notes))


def test_texts_that_differ_in_white_space_alone_are_never_on_both_sides(tmp_path):
    source, rows = write(tmp_path / "made.csv", extra=["twice  told tale", "twice told\ttale "])
    data = prepare(source, Roles(text="words"))
    assert data.split.duplicates >= 1
    parts = {i: part for part in ("train", "validation", "test") for i in getattr(data.split, part).tolist()}
    assert parts[len(rows) - 2] == parts[len(rows) - 1]


def test_ten_thousand_terms_are_learnt_at_most_and_512_of_a_row():
    text = " ".join(f"word{i}" for i in range(10_001))
    encoder = Texts([text, text]).fit(np.arange(2), "made")
    assert (encoder.inputs.width, encoder.inputs.shape) == (10_000, (2 * 512,))


def test_one_text_and_several_are_counted_in_words():
    rows = np.arange(4)
    one = Texts(["red fox", "red fox", "red dog", "dog fox", "red fox dog", "cow"], max_row_terms=2).fit(rows, "made")
    assert messages.texts(one.notes)[1:] == (
        "1 text holds more than 2 distinct terms; those of least weight are cut.",
        "1 text holds no term of the vocabulary: the model can only guess there.",
    )
    two = Texts(["red fox", "red fox", "red dog", "dog fox", *["red fox dog", "cow"] * 2], max_row_terms=2).fit(
        rows, "made"
    )
    assert messages.texts(two.notes)[1:] == (
        "2 texts hold more than 2 distinct terms; those of least weight are cut.",
        "2 texts hold no term of the vocabulary: the model can only guess there.",
    )


def test_new_texts_are_encoded_as_those_of_training(tmp_path):
    source, rows = write(tmp_path / "made.csv")
    data = prepare(source, Roles(text="words"))
    kept = data.encoder.learned
    again = transform_terms(rows, kept["terms"], kept["weights"], np.zeros((len(rows), 0), np.float32))
    assert np.allclose(again, data.encoder.encode(np.arange(len(rows))), atol=1e-6)


def test_other_columns_are_features_after_the_terms_in_training_and_for_new_rows(tmp_path):
    source, rows = write(tmp_path / "made.csv")
    rng = np.random.default_rng(1)
    frame = pandas.read_csv(source).assign(
        age=[None if i % 9 == 2 else value for i, value in enumerate(rng.normal(size=len(rows)).round(3))],
        city=rng.choice(["Oslo", "Rome"], len(rows)),
        seen=pandas.date_range("2020-01-01", periods=len(rows), freq="9D", tz="Europe/Berlin").astype(str),
    )
    frame.to_csv(source, index=False)
    data = prepare(source, Roles(text="words"))
    plain = frame.drop(columns="words")
    plain.to_csv(tmp_path / "plain.csv", index=False)
    others = load(str(tmp_path / "plain.csv")).features.fit(data.split.train, "made")
    terms = data.inputs.width - others.inputs.width
    assert terms == len(data.encoder.learned["terms"]) > 0
    for part in ("train", "test"):
        spread = dense(data.arrays(part)[0], data.inputs.width)
        at = getattr(data.split, part)
        oracle = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", min_df=2, max_features=MAX_TERMS)
        oracle.fit([rows[i] for i in data.split.train])
        assert np.allclose(spread[:, :terms], oracle.transform([rows[i] for i in at]).toarray(), atol=1e-6)
        assert np.array_equal(spread[:, terms:], others.encode(at))
    stored = data.encoder.stored()
    new = encode_new(stored, frame.drop(columns="label"))
    assert np.allclose(
        dense(new, data.inputs.width), dense(data.encoder.encode(np.arange(len(rows))), data.inputs.width), atol=1e-6
    )
    assert encode_new(stored, frame.iloc[:1].to_dict("records")[0]).shape[0] == 1
    assert 'has no column "age"' in refused(encode_new, stored, frame.drop(columns="age"))
    assert refused(encode_new, stored, rows).startswith("the model reads columns by their names (")


def test_a_column_without_words_is_refused_as_text(tmp_path):
    source, _ = write(tmp_path / "made.csv")
    with pytest.raises(DataError, match=r"^made\.csv: no word of two letters or more is in two training"):
        prepare(source, Roles(text="number", label="label"))


@pytest.fixture
def tokenizer_of(tmp_path):
    """Makes the folder of a tokenizer of two words, for a model of texts of so many tokens."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    places = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "alpha", "beta"])}
    made = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()

    def write(longest):
        PreTrainedTokenizerFast(
            tokenizer_object=made, model_max_length=longest, pad_token="[PAD]", unk_token="[UNK]"
        ).save_pretrained(tmp_path / "words")
        return str(tmp_path / "words")

    return write


@pytest.fixture
def tokenizer(tokenizer_of):
    return tokenizer_of(6)


class Told(logging.Handler):
    """What a library says while it works."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record.getMessage())


def test_texts_as_tokens_are_cut_where_the_model_ends_and_that_is_said_once(tokenizer):
    told = Told()
    logger = logging.getLogger("transformers")
    logger.addHandler(told)
    try:
        encoder = Texts(["beta alpha", "gamma", "", "alpha " * 6, "beta " * 7], tokenizer, ("t",)).fit(
            np.arange(2), "n"
        )
    finally:
        logger.removeHandler(told)
    assert encoder.encode(np.arange(5)).tolist() == [[4, 3, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [0] * 6, [3] * 6, [4] * 6]
    assert messages.texts(encoder.notes) == (
        f"Texts as tokens of {tokenizer}.",
        "1 text holds more than 6 tokens, and is cut there.",
    )
    assert (encoder.inputs.kind, encoder.inputs.shape, encoder.inputs.width) == ("tokens", (6,), 4)
    assert encoder.learned == {"features": "tokens", "text_columns": ["t"], "tokenizer": tokenizer}
    assert told.records == []  # the library would say that the model cannot read the longest


def test_more_tokens_than_are_read_of_a_text_are_cut(tokenizer):
    rows = ["beta alpha", "alpha alpha beta", "beta beta alpha alpha"]
    encoder = Texts(rows, tokenizer, max_row_tokens=2).fit(np.arange(2), "n")
    assert encoder.encode(np.arange(3)).tolist() == [[4, 3], [3, 3], [4, 4]]
    assert messages.texts(encoder.notes)[1] == "2 texts hold more than 2 tokens, and are cut there."
    assert transform_tokens(["beta alpha", ""], tokenizer).tolist() == [[4, 3], [0, 0]]


@pytest.mark.parametrize(("longest", "read"), [(127, 127), (128, 128), (129, 128)])
def test_of_a_text_128_tokens_are_read_at_most(tokenizer_of, longest, read):
    assert transform_tokens(["alpha " * 200], tokenizer_of(longest)).tolist() == [[3] * read]
