"""Code to copy: the target of an arm and its temperature in each framework, with the ε that this framework needs.

Every piece computes ``loss`` from ``logits`` (N, K) and ``labels`` (N,), so that the tests can run it.
"""

from dataclasses import dataclass

from sfumato.conventions import CONVENTIONS
from sfumato.report.arms import torch_strength
from sfumato.runs.schema import ArmSummary
from sfumato.theory import convert_eps
from sfumato.verdict.penalty_words import penalty_of
from sfumato.verdict.schedule_words import ScheduleOfArm, schedule_of

LONGEST = 48  # characters of a line
_SOFTMAX = "(logits / {}).softmax(dim=1)"


@dataclass(frozen=True)
class Snippet:
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

    >>> arm = {"name": "smoothed", "eps": 0.1, "over": "others"}
    >>> [(each.framework, each.strength) for each in snippets(arm, 10)][:2]
    [('PyTorch', '0.111111 over all'), ('timm', '0.111111 over all')]
    """
    if (penalty := penalty_of(arm)) is not None:
        call = _call(f"loss = sf.penalty.{penalty.words.function}", "logits", "labels", *penalty.arguments())
        return [Snippet("sfumato", _code("import sfumato as sf\n", call, _divided(temperature, _SOFTMAX)))]
    if (schedule := schedule_of(arm)) is not None:
        return _scheduled(schedule, temperature)
    if arm["eps"] and arm["over"] not in CONVENTIONS:
        return _own(arm, temperature)
    over_all = torch_strength(arm, num_classes)
    found = [] if over_all is None else _spreading_over_all(f"{over_all:.6g}", num_classes, temperature)
    if eps := arm["eps"]:
        over_others = convert_eps(eps, num_classes, frm="all", to="others") if arm["over"] == "all" else eps
        found.append(_fairseq(f"{over_others:.6g}"))
    return [*found, _sfumato(arm, temperature)]


def _spreading_over_all(eps: str, num_classes: int, temperature: str | None) -> list[Snippet]:
    """The frameworks that spread ε over all classes; ``eps`` as it is to be printed, "0" for one-hot."""
    smoothing = () if eps == "0" else (f"label_smoothing={eps}",)
    timm = ("import torch\n", _call("criterion = torch.nn.CrossEntropyLoss"))
    one_hot = f"jax.nn.one_hot(labels, {num_classes})"
    targets = f"targets = {one_hot}"
    notes = {"timm": f"In its train.py: --smoothing {eps}; without that it smooths by 0.1 over all."}
    if eps != "0":
        smoothed = _call("criterion = LabelSmoothingCrossEntropy", f"smoothing={eps}")
        timm = ("from timm.loss import LabelSmoothingCrossEntropy\n", smoothed)
        targets = _call("targets = optax.smooth_labels", one_hot, eps)
        notes["Hugging Face Trainer"] = "Trainer smooths its eval_loss as well: take log loss (NLL) from the logits."
    lines = {
        "PyTorch": (
            "import torch\n",
            _call("criterion = torch.nn.CrossEntropyLoss", *smoothing),
            "loss = criterion(logits, labels)",
        ),
        "timm": (*timm, "loss = criterion(logits, labels)"),
        "Hugging Face Trainer": (
            "from transformers import TrainingArguments\n",
            _call("arguments = TrainingArguments", '"out"', f"label_smoothing_factor={eps}"),
        ),
        "Keras": (
            "import keras\n",
            _call("criterion = keras.losses.CategoricalCrossentropy", "from_logits=True", *smoothing),
            f"targets = keras.ops.one_hot(labels, {num_classes})",
            "loss = criterion(targets, logits)",
        ),
        "optax": (
            "import jax\nimport optax\n",
            targets,
            _call("losses = optax.softmax_cross_entropy", "logits", "targets"),
            "loss = losses.mean()",
        ),
    }
    divided = {"Keras": "keras.ops.softmax(logits / {})", "optax": "jax.nn.softmax(logits / {})"}
    strength = f"{eps} over all" if eps != "0" else ""
    return [
        Snippet(name, _code(*code, _divided(temperature, divided.get(name, _SOFTMAX))), strength, notes.get(name, ""))
        for name, code in lines.items()
    ]


def _fairseq(eps: str) -> Snippet:
    code = f"--criterion label_smoothed_cross_entropy \\\n--label-smoothing {eps}"
    return Snippet("fairseq", code, f"{eps} over the others", "Since February 2021; before that it spread over all.")


def _sfumato(arm: ArmSummary, temperature: str | None) -> Snippet:
    eps = arm["eps"] or 0.0
    smoothing = (f"label_smoothing={eps:g}", f'over="{arm["over"]}"') if eps else ()
    call = _call("loss = sf.cross_entropy", "logits", "labels", *smoothing)
    strength = f"{eps:g} over {'all' if arm['over'] == 'all' else 'the others'}" if eps else ""
    return Snippet("sfumato", _code("import sfumato as sf\n", call, _divided(temperature, _SOFTMAX)), strength)


def _scheduled(schedule: ScheduleOfArm, temperature: str | None) -> list[Snippet]:
    """A strength that is set before every step; torch's own loss may stand in the place of sfumato's."""
    call = _call(f"eps = sf.schedules.{schedule.kind}", "step", "steps", *schedule.arguments())
    code = _code(
        "import sfumato as sf\n",
        "criterion = sf.CrossEntropyLoss()  # once",
        f"{call}  # before each step",
        "criterion.label_smoothing = eps",
        "loss = criterion(logits, labels)",
        _divided(temperature, _SOFTMAX),
    )
    note = "A step is a batch, counted from 0. torch.nn.CrossEntropyLoss does as well."
    return [Snippet("sfumato", code, f"{schedule.course()}, over all", note)]


def _own(arm: ArmSummary, temperature: str | None) -> list[Snippet]:
    """Targets that no framework's argument expresses, with sfumato's constructors."""
    eps, over, told = f"{arm['eps'] or 0:g}", str(arm["over"]), ""
    if over == "prior":
        made = f"target = sf.smooth_prior(labels, shares, {eps})  # shares of the classes among the training rows"
        told = f"{eps} over the classes' shares"
    elif over == "mixup":
        made = (
            f"lam = torch.distributions.Beta({eps}, {eps}).sample().item()\n"
            "other = torch.randperm(len(labels))\n"
            "logits = model(lam * inputs + (1 - lam) * inputs[other])\n"
            "target = sf.mix(sf.one_hot(labels, K), sf.one_hot(labels[other], K), lam)"
        )
    elif over == "cutmix":
        made = (
            f"mix = torchvision.transforms.v2.CutMix(num_classes=K, alpha={eps})\n"
            "inputs, probabilities = mix(inputs, labels)\n"
            "logits = model(inputs)\n"
            "target = sf.from_probs(probabilities)"
        )
    elif over in ("order", "likeness", "tree"):
        maker, given = {
            "order": ("ordinal", "values, tau"),
            "likeness": ("similarity", "likeness, tau"),
            "tree": ("hierarchy", '"tree.json", beta, classes=names'),
        }[over]
        made = f"rows = sf.class_tables.{maker}({given})  # once, as this arm was told\n"
        made += "target = sf.smooth_rows(labels, rows)"
        told = f"{eps} of the mass off the label on average"
    elif over == "confusions":
        made = (
            "rows = sf.class_tables.confusion(  # counts (K, K), once\n"
            f'    counts, {eps}, over="others", shrinkage=1\n'
            ")\n"
            "target = sf.smooth_rows(labels, rows)"
        )
        told = f"{eps} over the confusions"
    elif over == "own predictions":
        code = _code(
            "import sfumato as sf\n",
            f"criterion = sf.OnlineSmoothing(K, {eps})  # criterion.end_epoch() after each epoch",
            "loss = criterion(logits, labels)",
            _divided(temperature, _SOFTMAX),
        )
        return [Snippet("sfumato", code, f"{eps} to its own right predictions")]
    elif arm["name"] == "soft":
        made = "target = sf.from_probs(probabilities)  # the rows' soft labels, (N, K)"
    else:
        return []
    loss = "loss = sf.cross_entropy(logits, target)"
    code = _code("import sfumato as sf\n", made, loss, _divided(temperature, _SOFTMAX))
    return [Snippet("sfumato", code, told)]


def _call(function: str, *arguments: str) -> str:
    """A call on one line, on three, or with an argument a line, by how much fits beside the next on a page."""
    inside = ", ".join(arguments)
    if len(line := f"{function}({inside})") <= LONGEST:
        return line
    if len(inside) + 4 <= LONGEST:
        return f"{function}(\n    {inside}\n)"
    return f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _code(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def _divided(temperature: str | None, form: str) -> str:
    return "" if temperature is None else "probabilities = " + form.format(temperature)
