"""What a model may be called, told before anything heavy is loaded."""

from __future__ import annotations

import sys

import pytest

from sfumato.lab.model_names import CHOICES, complaint, default_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module, a package and a model of transformers; every library is there, but no other module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "tim.py").write_text("")  # nearly a library
    (tmp_path / "models").mkdir()
    installed = {"torchvision", "timm", "transformers", "elsewhere"}
    monkeypatch.setattr("sfumato.lab.model_names.find_spec", lambda name: sys if name in installed else None)


@pytest.mark.parametrize(
    "name", ["mlp", "linear", "cnn", "torchvision:resnet18", "timm:vit", "hf:models", "mine:net", "mine.py:net",
             "tim:net", "models.big:net", "elsewhere:net", "nowhere:net"]
)  # fmt: skip
def test_a_name_of_every_form_is_taken(name, here):
    assert complaint(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mpl", f'no model "mpl". Did you mean "mlp"? Models: {CHOICES}'),
        ("resnet18", f'no model "resnet18". Models: {CHOICES}'),
        ("timn:vit", f'no model "timn:vit". Did you mean "timm:vit"? Models: {CHOICES}'),
        ("my model:net", f'no model "my model:net". Models: {CHOICES}'),
        ("timm:", "--model timm: lacks a name: timm:NAME"),
        ("torchvision:", "--model torchvision: lacks a name: torchvision:NAME"),
        ("hf:nowhere", 'no folder "nowhere" for --model hf:nowhere; models come from disk: save one with '
                       "model.save_pretrained"),
        ("hf:mine.py", 'no folder "mine.py" for --model hf:mine.py; models come from disk: save one with '
                       "model.save_pretrained"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_the_nearest_one(name, said, here):
    assert complaint(name) == said


@pytest.mark.parametrize(
    ("kind", "shape", "model"),
    [
        ("image", (16, 16, 3), "cnn"),
        ("image", (15, 64, 3), "mlp"),
        ("image", (64, 15, 3), "mlp"),
        ("image", (17, 16, 1), "cnn"),
        ("dense", (64,), "mlp"),
        ("sparse", (20, 20), "mlp"),
    ],
)
def test_pictures_from_16_pixels_on_are_for_convolutions(kind, shape, model):
    assert default_model(kind, shape) == model
