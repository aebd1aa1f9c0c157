"""README.md: the verdict that it quotes is that of the digits, and each piece of "Use it from" runs in its framework.

A piece runs in a process of its own, since frameworks set the process up as they like. To run one by hand, type
``python -m tests.docs.test_readme FRAMEWORK``. That the losses are right is tested in tests/adapters.
"""

from __future__ import annotations

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

import sfumato as sf
from sfumato.text import wrapped
from tests.conftest import run_sfumato
from tests.docs.alike import NUMBER

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
K = 3
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
LABELS = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def code_in(text: str) -> str:
    return "".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


PIECES = {
    name: code_in(text)
    for name, text in re.findall(
        r"^\*\*([^*]+)\*\*:(.*?)(?=^\*\*|\Z)", section("Use it from"), re.MULTILINE | re.DOTALL
    )
}
"""The code of each framework, by the name that is before it."""


def executed(piece: str, **names: Any) -> dict[str, Any]:
    """What the README's code defines, given the names that it uses."""
    space = {"sf": sf, "np": np, "torch": torch, "K": K, "labels": LABELS, **names}
    exec(piece, space)
    return space


def pytorch(piece: str) -> None:
    made = executed(piece, logits=X[:, :K])
    truth = torch.nn.functional.cross_entropy(X[:, :K], LABELS, label_smoothing=0.1)
    torch.testing.assert_close(made["loss"], truth)


def hugging_face_trainer(piece: str) -> None:
    import tempfile

    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainingArguments,
    )

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    words = torch.stack([torch.arange(24) % 7, torch.arange(24) % 5, LABELS], dim=1)
    imports, of_classes, of_words = piece.strip("\n").split("\n\n")
    for code, labels, model in (
        (
            of_classes,
            LABELS,
            {"model": BertForSequenceClassification(BertConfig(vocab_size=20, num_labels=K, **sizes))},
        ),
        (of_words, words, {"language_model": LlamaForCausalLM(LlamaConfig(vocab_size=10, **sizes))}),
    ):
        data = [{"input_ids": ids, "labels": label} for ids, label in zip(words, labels, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            args = TrainingArguments(folder, report_to=[], max_steps=2, use_cpu=True, disable_tqdm=True)
            trainer = executed(f"{imports}\n{code}", Trainer=Trainer, args=args, data=data, **model)["trainer"]
            assert np.isfinite(trainer.train().training_loss)


def lightning(piece: str) -> None:
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        training_step = executed(piece)["training_step"]

        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(5, K)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.net(inputs)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.5)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, LABELS), batch_size=24)
    bare = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=5, accelerator="cpu", **bare)
    trainer.fit(Module(), batches)
    assert trainer.global_step == 5


def timm(piece: str) -> None:
    made = executed(piece, args=SimpleNamespace(smoothing=0.1))
    _, targets = made["mixup_fn"](torch.zeros(24, 3, 4, 4), LABELS)
    for target in (LABELS, targets):
        assert made["train_loss_fn"](X[:, :K], target).isfinite()


def keras(piece: str) -> None:
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    from keras import Sequential, layers

    model = Sequential([layers.Dense(K)])
    executed(piece, model=model)
    assert np.isfinite(model.fit(X.numpy(), LABELS.numpy(), batch_size=8, verbose=0).history["loss"]).all()


def skorch(piece: str) -> None:
    from skorch import NeuralNetClassifier

    class Net(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(5, K)

    net = executed(piece, NeuralNetClassifier=NeuralNetClassifier, Net=Net)["net"]
    net.set_params(verbose=0, train_split=None, max_epochs=1).fit(X.numpy(), LABELS.numpy())
    np.testing.assert_allclose(net.predict_proba(X.numpy()), net.forward(X.numpy()).softmax(1), rtol=1e-5)


def lightgbm(piece: str) -> None:
    from lightgbm import LGBMClassifier

    few = {"min_child_samples": 1, "n_estimators": 100, "n_jobs": 1, "verbose": -1}
    names = {"X": X.numpy(), "y": LABELS.numpy()}
    made = executed(piece, LGBMClassifier=lambda objective: LGBMClassifier(objective=objective, **few), **names)
    scores = made["model"].predict(X.numpy(), raw_score=True)
    wanted = sf.theory.optimal_gap(0.1, K, over="all")  # where every row has its own leaves, the gap is the closed form
    np.testing.assert_allclose(sf.evaluate.logit_gap(scores, LABELS.numpy()), wanted, rtol=1e-3)


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


@pytest.mark.parametrize("framework", [pytest.param(name, marks=pytest.mark.nightly) for name in CHECKS])
def test_the_lines_for_a_framework_run_there(framework: str):
    if absent := [package for package in CHECKS[framework][1] if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    command = [sys.executable, "-m", "tests.docs.test_readme", framework]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_lines_for_pytorch_and_of_the_loss_run():
    pytorch(PIECES["PyTorch"])
    prior, a, b = torch.tensor([0.5, 0.3, 0.2]), LABELS, LABELS.flip(0)
    executed(code_in(section("Use: the loss")), logits=X[:, :K], prior=prior, a=a, b=b, lam=0.3)


def test_no_framework_of_the_readme_is_without_a_check():
    assert [*PIECES] == [*CHECKS, "Any other"]


def test_scores_of_another_library_are_audited(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = SimpleNamespace(predict=lambda rows, raw_score: rows[:, :K].numpy())
    executed(PIECES["Any other"], model=model, X_val=X, y_val=LABELS.numpy())
    ran = run_sfumato("audit", "val.npz", "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.json()["rows"] == len(X)


def test_the_verdict_that_the_readme_quotes_is_that_of_the_digits(digits):
    printed = "\n".join(wrapped(sentence, 100, rest="  ") for sentence in digits.json()["verdict"]["sentences"])
    first, rest = TEXT.split("begins with its verdict:")[1], section("What `make compare` shows")
    quoted = first.split("```")[1].strip("\n"), rest.split("```")[1].split("\n\n")[0].strip("\n")
    texts = ("\n".join(quoted), printed)
    one, other = (NUMBER.sub("#", " ".join(text.split())) for text in texts)  # last digits depend on the machine
    assert one == other


if __name__ == "__main__":
    CHECKS[sys.argv[1]][0](PIECES[sys.argv[1]])
