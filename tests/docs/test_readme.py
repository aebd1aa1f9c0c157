"""README.md: the verdict that it quotes is that of the digits, and each piece of "Use it from" runs in its framework.

A piece runs in a process of its own, since frameworks set the process up as they like; there it is held to torch's own
loss. ``python -m tests.docs.test_readme FRAMEWORK`` checks one by hand.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import sfumato as sf
from sfumato.text import wrapped
from tests.conftest import run_sfumato

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
K = 3


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


PIECES = {
    name: "".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for name, text in re.findall(
        r"^\*\*([^*]+)\*\*:(.*?)(?=^\*\*|\Z)", section("Use it from"), re.MULTILINE | re.DOTALL
    )
}
"""The code of each framework, by the name that stands before it."""


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """24 rows of 5 numbers, and labels that two of them decide."""
    x = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def expected(logits: Any, labels: Any, eps: float = 0.1) -> float:
    """The mean loss by torch, over the rows that are not ignored."""
    logits = torch.as_tensor(np.asarray(logits), dtype=torch.float64)
    return functional.cross_entropy(logits, torch.as_tensor(np.asarray(labels)), label_smoothing=eps).item()


def code_of(text: str) -> list[list[str]]:
    """The lines of each block, without their comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [[line.partition(" #")[0].rstrip() for line in block.splitlines()] for block in blocks]


def test_the_chinese_page_has_the_code_of_this_one():
    blocks = code_of((ROOT / "README.zh.md").read_text(encoding="utf-8"))
    lines = {line for block in code_of(TEXT) for line in block}
    assert [line for block in blocks for line in block if line not in lines] == []
    python = re.findall(r"^```python$", TEXT, re.MULTILINE)
    assert len(blocks) >= len(python) + 2  # and what make shows, and the commands


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_picture_is_small_and_its_alt_text_tells_the_gaps_that_it_shows(name: str):
    found = re.search(r"!\[([^\]]*)\]\((docs/explain\.png)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert found is not None
    assert (ROOT / found[2]).stat().st_size <= 150_000
    hard, smoothed = (sf.theory.gap_after_time(10_000, 10, eps=eps, over="others") for eps in (0.0, 0.1))
    assert [text for text in ("10,000", f"{hard:.1f} nat", f"{smoothed:.3f}") if text not in found[1]] == []


def executed(piece: str, **names: Any) -> dict[str, Any]:
    """What the README's code defines, given the names that it uses."""
    space = {"sf": sf, "np": np, "torch": torch, "K": K, **names}
    exec(piece, space)
    return space


def pytorch(piece: str) -> None:
    x, labels = rows()
    made = executed(piece, logits=x[:, :K], labels=labels)
    assert made["loss"].item() == pytest.approx(expected(x[:, :K], labels), rel=1e-6)


def hugging_face_trainer(piece: str) -> None:
    from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, num_labels=K, **sizes, **quiet))
    _, labels = rows()
    words = torch.stack([torch.arange(24) % 7, torch.arange(24) % 5, labels], dim=1)
    first, of_classes, of_words = piece.strip("\n").split("\n\n")
    trained, told, logits = _by_trainer(f"{first}\n{of_classes}", words, labels, model=model)
    truth, hard = expected(logits, labels), expected(logits, labels, 0.0)
    assert (trained, told) == (pytest.approx(truth, rel=1e-5), pytest.approx(hard, rel=1e-5))

    model = LlamaForCausalLM(LlamaConfig(vocab_size=10, **sizes))
    labels = words.clone()
    labels[torch.arange(24), 1 + torch.arange(24) % 2] = -100  # one a row, so that no step has more labels
    own = copy.deepcopy(model)
    trained, told, _ = _by_trainer(f"{first}\n{of_words}", words, labels, language_model=model)
    logits, labels = own(words).logits[:, :-1].reshape(-1, 10).detach(), labels[:, 1:].flatten()
    truth, hard = expected(logits, labels), expected(logits, labels, 0.0)
    assert (trained, told) == (pytest.approx(truth, rel=1e-5), pytest.approx(hard, rel=1e-5))


def _by_trainer(piece: str, words: torch.Tensor, labels: torch.Tensor, **model: Any) -> tuple[float, float, Any]:
    """Mean training loss, test loss and logits, where nothing moves since the rate is 0: 3 steps of twice 4 rows."""
    import tempfile

    from transformers import Trainer, TrainingArguments

    data = [{"input_ids": ids, "labels": label} for ids, label in zip(words, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, learning_rate=0.0, per_device_train_batch_size=4, per_device_eval_batch_size=24, report_to=[],
            gradient_accumulation_steps=2, num_train_epochs=1, use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        trainer = executed(piece, Trainer=Trainer, args=args, data=data, **model)["trainer"]
        trained, predicted = trainer.train(), trainer.predict(data)
    return trained.metrics["train_loss"], predicted.metrics["test_loss"], predicted.predictions


def lightning(piece: str) -> None:
    from lightning import LightningModule, Trainer

    x, labels = rows()
    step = executed(piece)["training_step"]

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.told = torch.nn.Linear(5, K), list[float]()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.net(inputs)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = step(self, batch, batch_idx)
            self.told.append(loss.item())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.5)

    module = Module()
    before = expected(module(x).detach(), labels)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=24)
    bare = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    Trainer(max_epochs=5, accelerator="cpu", **bare).fit(module, batches)
    assert module.told[0] == pytest.approx(before, rel=1e-6)
    assert expected(module(x).detach(), labels) < module.told[-1] < before


def timm(piece: str) -> None:
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

    x, labels = rows()
    made = executed(piece, args=SimpleNamespace(smoothing=0.1))
    loss = made["train_loss_fn"](x[:, :K], labels)
    torch.testing.assert_close(loss, LabelSmoothingCrossEntropy(0.1)(x[:, :K], labels))
    np.random.seed(0)
    _, targets = made["mixup_fn"](torch.zeros(24, 3, 4, 4), labels)
    loss = made["train_loss_fn"](x[:, :K], targets)
    torch.testing.assert_close(loss, SoftTargetCrossEntropy()(x[:, :K], targets))


def keras(piece: str) -> None:
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    from keras import Sequential, layers

    x, labels = rows()
    model = Sequential([layers.Dense(K)])
    executed(piece, model=model)
    model.fit(x.numpy(), labels.numpy(), batch_size=8, verbose=0)
    logits = model.predict(x.numpy(), verbose=0)
    told = model.evaluate(x.numpy(), labels.numpy(), verbose=0)
    assert told == pytest.approx(expected(logits, labels), rel=1e-5)


def skorch(piece: str) -> None:
    from skorch import NeuralNetClassifier

    class Net(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(5, K)

    x, labels = rows()
    net = executed(piece, NeuralNetClassifier=NeuralNetClassifier, Net=Net)["net"]
    net.set_params(verbose=0, train_split=None, lr=0.0, max_epochs=1).fit(x.numpy(), labels.numpy())
    logits = net.forward(x.numpy())
    assert net.history[-1, "train_loss"] == pytest.approx(expected(logits, labels), rel=1e-5)
    np.testing.assert_allclose(net.predict_proba(x.numpy()), logits.softmax(1), rtol=1e-5)


def lightgbm(piece: str) -> None:
    from lightgbm import LGBMClassifier

    x, labels = rows()
    few = {"min_child_samples": 1, "n_estimators": 100, "n_jobs": 1, "verbose": -1}
    names = {"X": x.numpy(), "y": labels.numpy()}
    made = executed(piece, LGBMClassifier=lambda objective: LGBMClassifier(objective=objective, **few), **names)
    scores = made["model"].predict(x.numpy(), raw_score=True)
    wanted = sf.theory.optimal_gap(0.1, K, over="all")  # where every row has its own leaves, the gap is the closed form
    np.testing.assert_allclose(sf.evaluate.logit_gap(scores, labels.numpy()), wanted, rtol=1e-3)


CHECKS: dict[str, tuple[Callable[[str], None], tuple[str, ...]]] = {
    "PyTorch": (pytorch, ()),
    "Hugging Face Trainer": (hugging_face_trainer, ("transformers", "accelerate")),
    "Lightning": (lightning, ("lightning",)),
    "timm": (timm, ("timm",)),
    "Keras": (keras, ("keras",)),
    "skorch": (skorch, ("skorch",)),
    "LightGBM": (lightgbm, ("lightgbm",)),
}
"""The check of each framework, and the packages that it needs."""


@pytest.mark.parametrize(
    "framework",
    # each of the others costs seconds of imports, and by day tests/adapters holds them to what these lines ask
    [pytest.param(name, marks=[] if name == "PyTorch" else [pytest.mark.nightly]) for name in CHECKS],
)
def test_the_lines_for_a_framework_run_there(framework: str):
    if absent := [package for package in CHECKS[framework][1] if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    command = [sys.executable, "-m", "tests.docs.test_readme", framework]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_framework_of_the_readme_is_without_a_check():
    assert [*PIECES] == [*CHECKS, "Any other"]


def test_scores_of_another_library_are_audited(tmp_path: Path):
    x, labels = rows()

    def predict(rows: torch.Tensor, raw_score: bool) -> np.ndarray:
        return rows[:, :K].numpy()

    code = PIECES["Any other"].replace('"val.npz"', repr(str(tmp_path / "val.npz")))
    executed(code, model=SimpleNamespace(predict=predict), X_val=x, y_val=labels.numpy())
    ran = run_sfumato("audit", "val.npz", "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.json()["rows"] == len(x)


def test_the_verdict_that_the_readme_quotes_is_that_of_the_digits(digits):
    said = "\n".join(wrapped(sentence, 100, rest="  ") for sentence in digits.json()["verdict"]["sentences"])
    first, rest = TEXT.split("begins with its verdict:")[1], section("What `make compare` shows")
    quoted = first.split("```")[1].strip("\n"), rest.split("```")[1].split("\n\n")[0].strip("\n")
    assert words("\n".join(quoted)) == words(said)


def words(text: str) -> str:
    """The text as one line without its numbers, whose last digits depend on the machine."""
    return re.sub(r"[−+]?\d*\.?\d+", "#", " ".join(text.split()))


if __name__ == "__main__":
    CHECKS[sys.argv[1]][0](PIECES[sys.argv[1]])
