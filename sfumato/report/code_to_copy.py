"""Code to copy: the target of an arm and its temperature in each framework, with the ε that this framework needs.

Every piece computes ``loss`` from ``logits`` (N, K) and ``labels`` (N,), so that the tests can run it.
"""

from typing import NamedTuple

from sfumato.report.arms import torch_strength
from sfumato.runs.schema import ArmSummary
from sfumato.theory import convert_eps
from sfumato.verdict.arms import call

_SOFTMAX = "(logits / {}).softmax(dim=1)"


class Snippet(NamedTuple):
    """The code of one framework for the target of an arm, and a note on it or an empty text.

    ``strength`` is ε as this framework takes it, with what ε is spread over; it is empty where nothing is smoothed.
    """

    framework: str
    code: str
    strength: str = ""
    note: str = ""


def snippets(arm: ArmSummary, num_classes: int, temperature: str | None = None) -> list[Snippet]:
    """An arm of a summary in each framework that can express it; ``temperature`` is a divisor as it is to be printed.

    One-hot has a piece for every framework. Where one of the two conventions has no ε up to 1 for the arm, the
    frameworks of that convention have none; sfumato always has one.
    """
    if (told := arm.get("description")) is not None:
        code = _code("import sfumato as sf\n", told["code"], _divided(temperature, _SOFTMAX))
        return [Snippet("sfumato", code, told["code_strength"], told["code_note"])]
    over_all, eps, over = torch_strength(arm, num_classes), arm["eps"] or 0.0, arm["over"]
    found = [] if over_all is None else _spreading_over_all(f"{over_all:.6g}", num_classes, temperature)
    if eps:
        others = f"{convert_eps(eps, num_classes, frm='all', to='others') if over == 'all' else eps:.6g}"
        fairseq = f"--criterion label_smoothed_cross_entropy \\\n--label-smoothing {others}"
        note = "Since February 2021; before that it spread over all."
        found.append(Snippet("fairseq", fairseq, f"{others} over the others", note))
    smoothing = (f"label_smoothing={eps:g}", f'over="{over}"') if eps else ()
    line = call("loss = sf.cross_entropy", "logits", "labels", *smoothing)
    strength = f"{eps:g} over {'all' if over == 'all' else 'the others'}" if eps else ""
    code = _code("import sfumato as sf\n", line, _divided(temperature, _SOFTMAX))
    return [*found, Snippet("sfumato", code, strength)]


def _spreading_over_all(eps: str, num_classes: int, temperature: str | None) -> list[Snippet]:
    """The frameworks that spread ε over all classes; ``eps`` as it is to be printed, "0" for one-hot."""
    smoothing = () if eps == "0" else (f"label_smoothing={eps}",)
    timm = ("import torch\n", call("criterion = torch.nn.CrossEntropyLoss"))
    one_hot = f"jax.nn.one_hot(labels, {num_classes})"
    targets = f"targets = {one_hot}"
    notes = {"timm": f"In its train.py: --smoothing {eps}; without that it smooths by 0.1 over all."}
    if eps != "0":
        smoothed = call("criterion = LabelSmoothingCrossEntropy", f"smoothing={eps}")
        timm = ("from timm.loss import LabelSmoothingCrossEntropy\n", smoothed)
        targets = call("targets = optax.smooth_labels", one_hot, eps)
        notes["Hugging Face Trainer"] = "Trainer smooths its eval_loss as well: take log loss (NLL) from the logits."
    lines = {
        "PyTorch": (
            "import torch\n",
            call("criterion = torch.nn.CrossEntropyLoss", *smoothing),
            "loss = criterion(logits, labels)",
        ),
        "timm": (*timm, "loss = criterion(logits, labels)"),
        "Hugging Face Trainer": (
            "from transformers import TrainingArguments\n",
            call("arguments = TrainingArguments", '"out"', f"label_smoothing_factor={eps}"),
        ),
        "Keras": (
            "import keras\n",
            call("criterion = keras.losses.CategoricalCrossentropy", "from_logits=True", *smoothing),
            f"targets = keras.ops.one_hot(labels, {num_classes})",
            "loss = criterion(targets, logits)",
        ),
        "optax": (
            "import jax\nimport optax\n",
            targets,
            call("losses = optax.softmax_cross_entropy", "logits", "targets"),
            "loss = losses.mean()",
        ),
    }
    divided = {"Keras": "keras.ops.softmax(logits / {})", "optax": "jax.nn.softmax(logits / {})"}
    strength = f"{eps} over all" if eps != "0" else ""
    return [
        Snippet(name, _code(*code, _divided(temperature, divided.get(name, _SOFTMAX))), strength, notes.get(name, ""))
        for name, code in lines.items()
    ]


def _code(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def _divided(temperature: str | None, form: str) -> str:
    return "" if temperature is None else "probabilities = " + form.format(temperature)
