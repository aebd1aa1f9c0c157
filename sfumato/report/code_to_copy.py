"""Code to copy, which tests run: ``loss`` from ``logits`` (N, K) and ``labels`` (N,) with the ε of each framework."""

from typing import NamedTuple

from sfumato.report.arms import torch_strength
from sfumato.runs.schema import ArmSummary
from sfumato.theory import convert_eps
from sfumato.verdict.arms import call

_SOFTMAX = "(logits / {}).softmax(dim=1)"


class Snippet(NamedTuple):
    """Code for one framework, ε as this framework takes it with what it is spread over, and a note; or empty texts."""

    framework: str
    code: str
    strength: str = ""
    note: str = ""


def snippets(arm: ArmSummary, num_classes: int, temperature: str | None = None) -> list[Snippet]:
    """An arm of a summary in each framework that can express it; ``temperature`` is a divisor as it is printed."""
    if (told := arm.get("description")) is not None:
        code = _code("import sfumato as sf", told["code"], _divided(temperature, _SOFTMAX))
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
    code = _code("import sfumato as sf", line, _divided(temperature, _SOFTMAX))
    return [*found, Snippet("sfumato", code, strength)]


def _spreading_over_all(eps: str, num_classes: int, temperature: str | None) -> list[Snippet]:
    """The frameworks that spread ε over all classes; ``eps`` as it is to be printed, "0" for one-hot."""
    smoothing = () if eps == "0" else (f"label_smoothing={eps}",)
    timm = ("import torch", call("criterion = torch.nn.CrossEntropyLoss"))
    one_hot = f"jax.nn.one_hot(labels, {num_classes})"
    targets = f"targets = {one_hot}"
    notes = {"timm": f"In its train.py: --smoothing {eps}; without that it smooths by 0.1 over all."}
    if eps != "0":
        smoothed = call("criterion = LabelSmoothingCrossEntropy", f"smoothing={eps}")
        timm = ("from timm.loss import LabelSmoothingCrossEntropy", smoothed)
        targets = call("targets = optax.smooth_labels", one_hot, eps)
        notes["Hugging Face Trainer"] = "Trainer smooths its eval_loss as well: take log loss (NLL) from the logits."
    lines = {
        "PyTorch": (
            "import torch",
            call("criterion = torch.nn.CrossEntropyLoss", *smoothing),
            "loss = criterion(logits, labels)",
        ),
        "timm": (*timm, "loss = criterion(logits, labels)"),
        "Hugging Face Trainer": (
            "from transformers import TrainingArguments",
            call("arguments = TrainingArguments", '"out"', f"label_smoothing_factor={eps}"),
        ),
        "Keras": (
            "import keras",
            call("criterion = keras.losses.CategoricalCrossentropy", "from_logits=True", *smoothing),
            f"targets = keras.ops.one_hot(labels, {num_classes})",
            "loss = criterion(targets, logits)",
        ),
        "optax": (
            "import jax\nimport optax",
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


def divided(temperature: str) -> list[Snippet]:
    """Probabilities from logits and their temperature, where nothing is known of the training."""
    forms = {
        "PyTorch": ("", _SOFTMAX),
        "NumPy": ("from scipy.special import softmax", "softmax(logits / {}, axis=1)"),
        "JAX": ("import jax", "jax.nn.softmax(logits / {})"),
    }
    return [Snippet(name, _code(line, _divided(temperature, form))) for name, (line, form) in forms.items()]
