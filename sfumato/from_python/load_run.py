"""``sf.load_run``: the model that a comparison chose, with its temperature, on rows read as its training rows were."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.extras import lab_imports
from sfumato.text import listing

with lab_imports("load_run"):
    from sfumato.lab.data.new_rows import encode_new
    from sfumato.lab.data.table import Inputs
    from sfumato.lab.errors import OptionError, first_line
    from sfumato.lab.options import MODEL_LIBRARIES, OWN_MODELS
    from sfumato.runs.read import ReportError, chosen_of, read_description, read_encoding
    from sfumato.runs.schema import ArmSummary, StoredEncoding, StoredInputs, Summary

if TYPE_CHECKING:
    from sfumato.lab.models import Classifier


@dataclass(repr=False, eq=False)
class RunModel:
    """One trained model of a comparison, with the temperature that was fitted on the validation rows.

    ``classes_`` (K,) are the classes in the order of the columns of the probabilities: whole numbers where all of them
    are, truths where they are True and False, else text.
    """

    folder: Path
    arm: str
    seed: int
    temperature: float
    classes_: np.ndarray
    _name: str = field(repr=False)
    _encoding: StoredEncoding = field(repr=False)
    _model: Classifier = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"RunModel({str(self.folder)!r}: {self._name} of arm {self.arm!r}, seed {self.seed}, temperature "
            f"{self.temperature:.3g}; {len(self.classes_)} classes)"
        )

    def logits(self, X: Any) -> np.ndarray:
        """(n, K) float32 logits before the temperature; errors as :meth:`predict_proba`."""
        import torch

        from sfumato.lab.models import logits_of

        rows = encode_new(self._encoding, X)
        return logits_of(self._model, torch.from_numpy(rows)).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        r"""(n, K) float64 probabilities, softmax(z/T).

        .. math:: p_{ik} = \frac{\exp(z_{ik}/T)}{\sum_j \exp(z_{ij}/T)}

        Args:
            X: rows as the training rows were: a data frame, a list of dicts, the path of a table (.csv, .tsv, .parquet)
                or of an ``.npz`` with ``X``, arrays, or texts. Columns are found by their names; the label is not
                needed. A missing value becomes the median of the training rows, and an unknown category counts as a
                rare one. Images are bytes (n, H, W, C), or files: one path, a list of paths, or a folder, whose images
                are taken in the order of their paths, and scaled and cut as in training.

        Raises:
            DataError: a column is missing, or a cell is of another kind than in training; names both. An image file
                is missing or damaged, or differs in size or colours where training had one size, or none; names it.
        """
        scaled = self.logits(X).astype(np.float64) / self.temperature
        p = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the likeliest class of each row, one of ``classes_``, of equals the first; as :meth:`predict_proba`."""
        return self.classes_[self.logits(X).argmax(axis=1)]


def load_run(
    folder: str | os.PathLike[str], *, arm: str | None = None, seed: int = 0, model: str | None = None
) -> RunModel:
    """The trained model of a comparison that its verdict chose, ready for new rows; nothing is trained.

    One model is given, that of one seed: the numbers of a verdict are those of single models, averaged. A mean over
    seeds would be another model, which nobody has judged.

    Args:
        folder: of a finished run.
        arm: the name of an arm; by default the one that the verdict chose.
        seed: of the run; the first one by default.
        model: the ``module:callable`` that the run trained, if it trained a model of your own. A run folder may come
            from anyone, so code that it names runs only if you name it too.

    Returns:
        The model, with ``predict_proba``, ``predict``, ``logits``, ``classes_``, ``arm`` and ``temperature``.

    Raises:
        ReportError: the folder is no finished run, is broken, or was made before sfumato kept how rows are encoded.
        OptionError: no such arm or seed, the verdict chose none, or ``model`` is not the one that was trained.

    >>> import tempfile
    >>> from sfumato.from_python.compare import compare
    >>> x, y = np.random.default_rng(0).normal(size=(120, 3)), np.repeat([0, 1], 60)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = os.path.join(folder, "run")
    ...     found = compare(x + y[:, None], y, model="linear", epochs=2, workers=1, out=out, quiet=True)
    ...     chosen = load_run(out, arm="smoothed")
    >>> chosen.predict_proba(x[:5]).shape, chosen.classes_.tolist()
    ((5, 2), [0, 1])
    """
    path = Path(folder)
    summary, env = read_description(path)
    chosen = _arm(path, summary, arm)
    fitted = {each["seed"]: each["value"] for each in env["temperatures"][chosen["name"]]}
    if seed not in fitted:
        raise OptionError(f"{path} has no seed {seed}; its seeds are {', '.join(map(str, sorted(fitted)))}")
    temperature = fitted[seed]
    if not temperature > 0:
        raise ReportError(f"{path / 'env.json'}: the temperature of {chosen['name']} is {temperature:g}, not above 0")
    names = env["data"].get("class_names") or []
    if len(names) != summary["data"]["classes"] or len(names) < 2:
        raise ReportError(f"{path / 'env.json'} names {len(names)} classes, and there are {summary['data']['classes']}")
    folds = summary["data"].get("folds", 1)
    encoding, name = read_encoding(path, seed % folds, folds), env["model"]["name"]
    _refuse_foreign_code(path, name, model)
    weights = path / "weights" / f"{chosen['name']}-seed{seed}.safetensors"
    trained = _trained(name, encoding["inputs"], len(names), weights)
    return RunModel(path, chosen["name"], seed, temperature, _classes(names), name, encoding, trained)


def _arm(path: Path, summary: Summary, arm: str | None) -> ArmSummary:
    names = [each["name"] for each in summary["arms"]]
    if arm is None:
        chosen = chosen_of(summary)
        if chosen is None:
            raise OptionError(
                f'the verdict of {path} is "{summary["verdict"]["choice"]}", which chooses no arm; name one with arm=: '
                f"{listing(names)}"
            )
        return chosen
    if arm not in names:
        raise OptionError(f'{path} has no arm "{arm}". Arms: {listing(names)}')
    return summary["arms"][names.index(arm)]


def _classes(names: list[str]) -> np.ndarray:
    """The classes as they were before they had names."""
    if set(names) == {"False", "True"}:
        return np.array([name == "True" for name in names])
    try:
        whole = np.array([int(name) for name in names], np.int64)
    except (ValueError, OverflowError):
        return np.array(names)
    return whole if [str(number) for number in whole] == list(names) else np.array(names)


def _refuse_foreign_code(path: Path, name: str, model: str | None) -> None:
    """Refuse to run code that a folder names and its reader does not."""
    foreign = name not in OWN_MODELS and name.partition(":")[0] not in MODEL_LIBRARIES
    if model == name or (model is None and not foreign):
        return
    wrong = f'{path} trained "{name}"'
    if model is None:
        code = f"load_run({str(path)!r}, model={name!r})"
        raise OptionError(f"{wrong}, which is code outside sfumato; to run it, say {code}")
    raise OptionError(f'{wrong}, not "{model}"{"" if foreign else "; leave model out"}')


def _trained(name: str, stored: StoredInputs, classes: int, weights: Path) -> Classifier:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from sfumato.lab.models import build

    told: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    inputs = Inputs(**told)
    try:
        held = load_file(weights)
        if (
            name in OWN_MODELS
        ):  # a folder may claim any size: nothing of it is allocated before the weights are of that size
            with torch.device("meta"):
                _fit(weights, build(name, inputs, classes, seed=0), held)
        model = build(name, inputs, classes, seed=0)
        _fit(weights, model, held)
    except FileNotFoundError:
        raise ReportError(f"{weights} is missing: the run is incomplete") from None
    except (SafetensorError, OSError) as error:
        raise ReportError(f"{weights} cannot be read: {first_line(error)}") from error
    model.load_state_dict(held)
    return model.eval()


def _fit(weights: Path, model: Any, held: dict[str, Any]) -> None:
    """Refuse weights of another model."""
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in held.items()}
    if own != found:
        odd = next(key for key in [*own, *found] if own.get(key) != found.get(key))
        raise ReportError(f"{weights}: {odd} is {found.get(odd)}, but the model of the run has {own.get(odd)}")
