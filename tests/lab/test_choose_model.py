"""Which model trains, with how many processes and epochs, and which arms and data it cannot have."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from sfumato.lab.choose_model import check_device, choose_model, refuse_arms, refuse_augmentation
from sfumato.lab.data import Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.models import build
from sfumato.lab.options import MODEL_CHOICES, Options, schema
from sfumato.messages import texts

DENSE, SPARSE, TOKENS = Inputs.dense(5), Inputs("sparse", (10,), 50), Inputs("tokens", (6,), 6)
DIGITS = Inputs.dense(64, (8, 8))


def image(*shape):
    return Inputs("image", shape, math.prod(shape), mean=(0.0,) * shape[2], scale=(1.0,) * shape[2])


IMAGE = image(16, 16, 3)
(NO_MODEL,) = schema()["model"].rules
NO_AUGMENTATION = "Images are trained on as they are: no crops, flips or other augmentation (--augment)."


def data(inputs, soft=None):
    return SimpleNamespace(inputs=inputs, table=SimpleNamespace(class_names=("a", "b", "c"), soft=soft))


@pytest.mark.parametrize(
    ("cores", "device", "workers"),
    [
        (16, "cpu", 16),
        (2, "cpu", 2),
        (None, "cpu", 1),
        (16, "cuda:1", 4),
        (4, "cuda", 4),
        (3, "mps", 3),
        (None, "mps", 1),
    ],
)
def test_processes_are_as_many_as_cores_and_at_most_four_on_a_gpu(cores, device, workers, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("sfumato.lab.choose_model.check_device", lambda device: None)
    chosen = choose_model(Options("digits", device=device), data(DENSE))
    assert chosen.workers == workers
    note = f"Trained on {device}: bits may differ from run to run."
    assert texts(chosen.notes) == (() if device == "cpu" else (note,))


@pytest.mark.parametrize(
    ("inputs", "options", "expected"),
    [
        (DENSE, {}, ("mlp", 40, False, ())),
        (DENSE, {"model": "linear"}, ("linear", 40, False, ())),
        (SPARSE, {}, ("mlp", 15, False, ())),
        (SPARSE, {"model": "linear"}, ("linear", 15, False, ())),
        (DIGITS, {"model": "cnn"}, ("cnn", 15, True, (NO_AUGMENTATION,))),
        (IMAGE, {}, ("cnn", 15, True, (NO_AUGMENTATION,))),
        (image(17, 16, 1), {}, ("cnn", 15, True, (NO_AUGMENTATION,))),
        (image(15, 64, 3), {}, ("mlp", 40, False, ())),
        (image(64, 15, 3), {}, ("mlp", 40, False, ())),
        (IMAGE, {"augment": "flip"}, ("cnn", 15, True, ())),
        (IMAGE, {"model": "mlp", "augment": "flip"}, ("mlp", 40, False, ())),
    ],
)
def test_a_model_has_the_least_epochs_and_the_notes_of_its_kind(inputs, options, expected):
    chosen = choose_model(Options("digits", **options), data(inputs))
    assert (chosen.name, chosen.least_epochs, chosen.batch_norm, texts(chosen.notes)) == expected


def test_a_model_with_weights_from_a_file_is_tried_and_has_the_epochs_of_its_kind(tmp_path):
    path = str(tmp_path / "w.safetensors")
    save_file(build("mlp", 5, 3, seed=1).state_dict(), path)
    chosen = choose_model(Options("digits", model="mlp", pretrained=path), data(DENSE))
    assert (chosen.name, chosen.least_epochs, chosen.batch_norm) == ("mlp", 40, False)
    assert [note.partition(":")[0] for note in texts(chosen.notes)] == ["Pretrained weights from w.safetensors"]
    with pytest.raises(OptionError, match='no file "none.pt" for --pretrained'):
        choose_model(Options("digits", model="linear", pretrained="none.pt"), data(DENSE))


@pytest.mark.parametrize("inputs", [IMAGE, DIGITS, Inputs.dense(192, (3, 8, 8)), Inputs.dense(192, (8, 8, 3))])
def test_pictures_of_every_layout_can_be_augmented(inputs):
    refuse_augmentation("flip", inputs)


@pytest.mark.parametrize(
    "inputs", [DENSE, SPARSE, TOKENS, Inputs.dense(512, (8, 8, 8)), Inputs.dense(16, (2, 2, 2, 2))]
)
def test_what_is_no_picture_cannot_be_augmented(inputs):
    with pytest.raises(OptionError) as error:
        refuse_augmentation("flip,crop", inputs)
    assert str(error.value) == (
        f"--augment flip,crop changes pictures, but these data are {inputs.describe()}; leave it out"
    )
    with pytest.raises(OptionError, match="^--augment flip changes pictures"):
        choose_model(Options("digits", augment="flip", model="mlp"), data(inputs))


@pytest.mark.parametrize(
    ("arm", "inputs", "soft", "model", "said"),
    [
        ("soft", DENSE, None, "mlp", "--arm soft needs soft labels: --label-probs names columns of probabilities"),
        ("soft", DENSE, [[0.5, 0.5]], "mlp", ""),
        ("all:0.1", TOKENS, None, "hf:bert", ""),
        ("mixup:0.2", DENSE, None, "mlp", ""),
        ("mixup:0.2", SPARSE, None, "mlp", "--arm mixup:0.2 mixes rows of numbers or pictures; texts cannot be mixed"),
        ("mixup:0.2", TOKENS, None, "hf:bert", "--arm mixup:0.2 mixes rows of numbers or pictures; texts cannot be"),
        ("cutmix:1", SPARSE, None, "cnn", "--arm cutmix:1 mixes rows of numbers or pictures; texts cannot be mixed"),
        ("cutmix:1", IMAGE, None, "cnn", ""),
        ("cutmix:1", DIGITS, None, "cnn", ""),
        ("cutmix:1", IMAGE, None, "timm:resnet18", ""),
        ("cutmix:1", IMAGE, None, "mlp", "--arm cutmix:1 pastes pieces of pictures: it needs pictures, and a model"),
        ("cutmix:1", DIGITS, None, "linear", "--arm cutmix:1 pastes pieces of pictures: it needs pictures, and a"),
        ("cutmix:1", DENSE, None, "mine:net", "--arm cutmix:1 pastes pieces of pictures: it needs pictures, and a"),
    ],
)
def test_an_arm_is_refused_where_the_data_or_the_model_cannot_have_it(arm, inputs, soft, model, said):
    if said:
        with pytest.raises(OptionError) as error:
            refuse_arms(["onehot", arm], data(inputs, soft), model)
        assert str(error.value).startswith(said)
        with pytest.raises(OptionError):
            choose_model(Options("digits", arm=f"onehot,{arm}", model=model), data(inputs, soft))
    else:
        refuse_arms(["onehot", arm], data(inputs, soft), model)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module, a package and a model of transformers; every library is there, but no other module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "tim.py").write_text("")  # nearly a library
    (tmp_path / "models").mkdir()
    installed = {"torchvision", "timm", "transformers", "elsewhere"}
    monkeypatch.setattr("sfumato.lab.options.find_spec", lambda name: sys if name in installed else None)


@pytest.mark.parametrize(
    "name", ["mlp", "linear", "cnn", "torchvision:resnet18", "timm:vit", "hf:models", "mine:net", "mine.py:net",
             "tim:net", "models.big:net", "elsewhere:net", "nowhere:net"]
)  # fmt: skip
def test_a_name_of_every_form_is_taken(name, here):
    assert NO_MODEL("--model", name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mpl", f'no model "mpl". Did you mean "mlp"? Models: {MODEL_CHOICES}'),
        ("resnet18", f'no model "resnet18". Models: {MODEL_CHOICES}'),
        ("timn:vit", f'no model "timn:vit". Did you mean "timm:vit"? Models: {MODEL_CHOICES}'),
        ("my model:net", f'no model "my model:net". Models: {MODEL_CHOICES}'),
        ("timm:", "--model timm: lacks a name: timm:NAME"),
        ("torchvision:", "--model torchvision: lacks a name: torchvision:NAME"),
        ("hf:nowhere", 'no folder "nowhere" for --model hf:nowhere; models come from disk: save one with '
                       "model.save_pretrained"),
        ("hf:mine.py", 'no folder "mine.py" for --model hf:mine.py; models come from disk: save one with '
                       "model.save_pretrained"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_the_nearest_one(name, said, here):
    assert NO_MODEL("--model", name) == said


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("sfumato.lab.options.find_spec", lambda name: None)
    for prefix, package in {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}.items():
        assert NO_MODEL("--model", f"{prefix}:resnet18") == (
            f"--model {prefix}: needs {package}, which is not installed; install it with pip install {package}"
        )


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [
        *((2, name, "") for name in ("cpu", "cuda", "cuda:0", "cuda:1")),
        (2, "cuda:2", "--device cuda:2 was asked for, but the last GPU here is cuda:1"),
        (2, "cuda:10", "--device cuda:10 was asked for, but the last GPU here is cuda:1"),
        *((0, name, f"--device {name} was asked for, but torch {torch.__version__} sees no {maker} GPU; leave --device "
           "out to train on the CPU") for name, maker in (("cuda", "CUDA"), ("cuda:0", "CUDA"), ("mps", "Apple"))),
        (0, "cude", 'no device "cude". Did you mean "cuda"? Devices: cpu, cuda, cuda:1, mps'),
        *((2, name, f'no device "{name}". Did you mean "cuda"? Devices: cpu, cuda, cuda:1, mps')
          for name in ("cuda:first", "cuda:-1")),
    ],
)  # fmt: skip
def test_a_device_that_torch_cannot_use_here_is_refused(gpus, name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refusal = ""
    try:
        check_device(name)
    except OptionError as error:
        refusal = str(error)
    assert refusal == message
