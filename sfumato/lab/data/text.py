"""Text: TF-IDF with the vocabulary of the training rows and the other columns, or the tokens of a language model.

A text holds few of the vocabulary's terms, so a row keeps their numbers and weights side by side, filled up to the
longest row: a twentieth of the dense array. Features of other columns are numbered after the terms.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.io.tables import pa, pc
from sfumato.lab.data.columns import Column
from sfumato.lab.data.encoding import Columns, Numbers
from sfumato.lab.data.table import DataError, Encoder, Inputs, as_hashes
from sfumato.lab.errors import first_line
from sfumato.messages import Note
from sfumato.text import plural, short

MAX_TERMS = 10_000  # the most frequent of the training rows, each in two of them or more
MAX_ROW_TERMS = 512  # distinct terms of one row, those of largest weight
MAX_ROW_TOKENS = 128  # tokens of one row for a language model
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Texts:
    """N rows of text; the rest are limits."""

    texts: Sequence[str]  # as they were read
    tokenizer: str | None = None  # folder of a language model whose tokens to use; None for TF-IDF
    columns: tuple[str, ...] = ()  # columns of a table that hold them, which are joined
    others: Columns | Numbers | None = None  # the other columns of the table
    max_row_terms: int = MAX_ROW_TERMS
    max_row_tokens: int = MAX_ROW_TOKENS

    def __len__(self) -> int:
        return len(self.texts)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each text, white space counted once, and of the other columns."""
        texts = as_hashes(_SPACE.sub(" ", text).strip().encode("utf-8", "replace") for text in self.texts)
        return texts if self.others is None else as_hashes(np.concatenate([texts, self.others.hashes()], axis=1))

    def raw_columns(self) -> tuple[Column, ...]:
        """The columns beside the texts."""
        return () if self.others is None else self.others.raw_columns()

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """The vocabulary and inverse document frequencies of the training rows, and how they encode other columns."""
        if self.tokenizer is not None:
            return _tokens(self, self.tokenizer)
        vectoriser = _vectoriser(min_df=2, max_features=MAX_TERMS)
        ordered = np.sort(rows)
        try:
            vectoriser.fit([self.texts[i] for i in ordered])
        except ValueError as error:
            found = "no word of two letters or more is in two training texts"
            raise DataError(f"{name}: {found}; is this the text column?") from error
        matrix = vectoriser.transform(self.texts)
        others = None if self.others is None else self.others.fit(rows, name)
        more = np.zeros((len(self), 0), np.float32) if others is None else others.encode(np.arange(len(self)))
        packed, counts = _packed(matrix, more, self.max_row_terms)
        text = f"Texts as TF-IDF of {matrix.shape[1]:,} terms, vocabulary and weights from the training rows"
        text += f", next to {plural(more.shape[1], 'feature')} of other columns." if others else "."
        notes = [Note(code="tf-idf", text=text), *(others.notes if others else ())]
        if cut := int(np.count_nonzero(counts > self.max_row_terms)):
            text = f"{_texts_hold(cut)} more than {self.max_row_terms} distinct terms; those of least weight are cut."
            notes.append(Note(code="texts-cut", text=text))
        if empty := int(np.count_nonzero(counts == 0)):
            text = f"{_texts_hold(empty)} no term of the vocabulary: the model can only guess there."
            notes.append(Note(code="texts-without-terms", text=text))
        form = Inputs("sparse", packed.shape[1:], matrix.shape[1] + more.shape[1])
        learned = {"features": "texts", "text_columns": list(self.columns)}
        learned |= {"terms": vectoriser.get_feature_names_out().tolist(), "weights": vectoriser.idf_.tolist()}
        learned |= {"columns": others.learned["columns"]} if others else {}
        return Encoder(form, lambda rows: packed[rows], tuple(notes), learned)


def joined_text(file: str, columns: Mapping[str, Any]) -> list[str]:
    """The text of each row of a table; several columns are joined by line ends."""
    cells: list[list[str]] = []
    for name, column in columns.items():
        try:
            cells.append(pc.cast(column, pa.string()).fill_null("").to_pylist())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f'{file}: column "{short(name)}" has type {column.type}, not text') from error
    return cells[0] if len(cells) == 1 else ["\n".join(row) for row in zip(*cells, strict=True)]


def transform_terms(
    texts: Sequence[str], terms: Sequence[str], weights: Sequence[float], others: np.ndarray
) -> np.ndarray:
    """(n, 2L) float32 of new texts, by the vocabulary of training and its weights, and (n, D) other features."""
    vectoriser = _vectoriser(vocabulary=list(terms))
    vectoriser.idf_ = np.array(weights, np.float32)
    return _packed(vectoriser.transform(texts), others)[0]


def transform_tokens(texts: Sequence[str], tokenizer: str) -> np.ndarray:
    """(n, L) int64, the tokens of new texts."""
    return _tokens(Texts(texts, tokenizer), tokenizer).encode(np.arange(len(texts)))


def _vectoriser(**how: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    kind: Any = np.float32
    return TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", dtype=kind, **how)


def _packed(matrix: Any, others: np.ndarray, max_terms: int = MAX_ROW_TERMS) -> tuple[np.ndarray, np.ndarray]:
    """A SciPy CSR matrix and (n, D) other features as (n, 2L) float32, and the terms per row.

    A row has L numbers in rising order, those of the features after those of the terms, and then L weights.
    """
    counts = np.diff(matrix.indptr)
    longest = int(min(counts.max(initial=1), max_terms) + np.count_nonzero(others, axis=1).max(initial=0))
    packed = np.zeros((matrix.shape[0], 2 * longest), np.float32)
    for i, (start, end) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        terms, weights = matrix.indices[start:end], matrix.data[start:end]
        if len(terms) > max_terms:
            kept = np.sort(np.argsort(-weights, kind="stable")[:max_terms])
            terms, weights = terms[kept], weights[kept]
        own = np.flatnonzero(others[i])
        terms, weights = np.append(terms, matrix.shape[1] + own), np.append(weights, others[i, own])
        packed[i, : len(terms)] = terms
        packed[i, longest : longest + len(terms)] = weights
    return packed, counts


def _tokens(texts: Texts, folder: str) -> Encoder:
    """(n, L) int64, filled up with 0, each one more than the tokenizer's so that 0 is no token."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError("--model hf: needs transformers; install it with pip install transformers") from error
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises a dozen kinds
        way_out = "save one there with tokenizer.save_pretrained"
        raise DataError(f'"{folder}" holds no tokenizer that can be read ({first_line(error)}); {way_out}') from error
    rows, cut = list[list[int]](), 0
    most = min(texts.max_row_tokens, int(tokenizer.model_max_length))
    for start in range(0, len(texts), 1024):
        block = list(texts.texts[start : start + 1024])
        for ids in tokenizer(block, truncation=False, verbose=False)["input_ids"]:
            cut += len(ids) > most
        rows += tokenizer(block, truncation=True, max_length=most)["input_ids"]
    ids = np.zeros((len(rows), max(1, max(map(len, rows)))), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = np.array(row, np.int64) + 1
    notes = [Note(code="tokens", text=f"Texts as tokens of {folder}.")]
    if cut:
        text = f"{_texts_hold(cut)} more than {most} tokens, and {'is' if cut == 1 else 'are'} cut there."
        notes.append(Note(code="texts-cut", text=text))
    learned = {"features": "tokens", "text_columns": list(texts.columns), "tokenizer": folder}
    return Encoder(Inputs("tokens", ids.shape[1:], len(tokenizer)), lambda rows: ids[rows], tuple(notes), learned)


def _texts_hold(count: int) -> str:
    return f"{plural(count, 'text')} hold{'s' if count == 1 else ''}"
