"""Models from elsewhere, without the libraries: what they are given, and how they are taken apart."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sfumato.lab.data import Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.models import build, logits_of
from sfumato.lab.models.outside import _Logits, build_outside
from sfumato.messages import texts

TOKENS = Inputs("tokens", (6,), 6)
IMAGE = Inputs("image", (16, 16, 3), 768, mean=(0.0,) * 3, scale=(1.0,) * 3)

MODULE = """
from torch import nn
def fails(shape, classes): raise KeyError("weights")
def flat(shape, classes): return nn.Sequential(nn.Linear(64, 4), nn.Linear(4, classes))
def bare(shape, classes): return nn.Linear(shape[0], classes)
def seven(shape, classes): return nn.Linear(shape[0], 7)
def hidden(shape, classes): return nn.Sequential(nn.Linear(shape[0], classes), nn.Tanh())
def shared(shape, classes):
    layer = nn.Linear(shape[0], classes)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(classes, classes))
def three(shape, classes, third): pass
def optional(shape, classes, third=None, *, fourth=None): return nn.Linear(shape[0], classes)
def odd(shape, classes): return nn.Linear(shape[0], classes)
odd.__signature__ = 3
class Pair(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
    def forward(self, x): return x, x
"""


class Net(nn.Module):
    """As a model of transformers, which keeps what it was called with; its logits are those of one class."""

    def __init__(self, classes=3, side=None, **config):
        super().__init__()
        self.config, self.calls = SimpleNamespace(**config), []
        self.classes, self.side = classes, side

    def forward(self, **given):
        self.calls.append(given)
        self.in_training = self.training
        x = next(iter(given.values()))
        if self.side is not None and x.shape[2:] != (self.side, self.side):
            raise ValueError(f"only {self.side}")
        return SimpleNamespace(logits=torch.zeros(len(x), self.classes))


@pytest.mark.parametrize(("config", "padding"), [({"pad_token_id": 7}, 7), ({"pad_token_id": None}, 0), ({}, 0)])
def test_a_language_model_is_given_its_own_tokens_as_far_as_the_longest_row(config, padding):
    net = Net(**config)
    _Logits(net, text=True)(torch.tensor([[3, 5, 0, 0], [4, 0, 0, 0]]))
    (call,) = net.calls
    assert call["input_ids"].tolist() == [[2, 4], [3, padding]]
    assert call["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_rows_without_a_token_are_given_one_place():
    net = Net(pad_token_id=7)
    _Logits(net, text=True)(torch.zeros(2, 5, dtype=torch.int64))
    assert [value.tolist() for value in net.calls[0].values()] == [[[7], [7]], [[0], [0]]]


@pytest.fixture
def library(monkeypatch):
    """A transformers of three functions; what it was asked for, and the model that it gives."""
    asked, made = [], []

    def automatic(name):
        def keep(folder=None, **given):
            asked.append((name, folder, given))
            return made[0]

        return SimpleNamespace(from_pretrained=keep, from_config=keep)

    def configured(folder, **given):
        assert given == {"num_labels": 3, "local_files_only": True}
        return made[0].config

    names = ("AutoModelForSequenceClassification", "AutoModelForImageClassification")
    fake = SimpleNamespace(
        logging=SimpleNamespace(set_verbosity_error=lambda: asked.append("silence")),
        AutoConfig=SimpleNamespace(from_pretrained=configured),
        **{name: automatic(name) for name in names},
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    return asked, made


def test_a_model_for_texts_is_tried_on_the_first_of_its_tokens(library, tmp_path):
    asked, made = library
    made.append(Net().train())
    model = build_outside(f"hf:{tmp_path}", TOKENS, 3)
    assert not made[0].in_training  # a layer such as dropout changes nothing of what is tried
    assert [call["input_ids"].tolist() for call in made[0].calls] == [[[0], [0]]]
    assert [call["attention_mask"].tolist() for call in made[0].calls] == [[[1], [1]]]
    assert asked == ["silence", ("AutoModelForSequenceClassification", made[0].config, {})]
    assert texts(model.notes)[-1] == f"hf:{tmp_path} has no weights in its folder: they are drawn from the seed."


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_model_whose_weights_are_in_its_folder_starts_from_them(library, ending, tmp_path):
    asked, made = library
    made.append(Net())
    (tmp_path / f"w.{ending}").write_bytes(b"")
    model = build_outside(f"hf:{tmp_path}", TOKENS, 3)
    given = {"config": made[0].config, "local_files_only": True, "ignore_mismatched_sizes": True}
    assert asked == ["silence", ("AutoModelForSequenceClassification", str(tmp_path), given)]
    assert (
        "starts from the weights in its folder; a last layer for other classes is drawn anew" in texts(model.notes)[-1]
    )


@pytest.mark.parametrize(
    ("config", "side", "scaled"),
    [
        ({}, None, None),
        ({"image_size": 32}, 32, 32),
        ({"image_size": [24, 40]}, 24, 24),
        ({}, 224, 224),
        ({"num_channels": 1}, None, None),
    ],
)
def test_a_model_for_pictures_gets_them_in_its_channels_and_in_its_size_if_it_takes_no_other(
    library, config, side, scaled, tmp_path
):
    asked, made = library
    made.append(Net(side=side, **config))
    model = build_outside(f"hf:{tmp_path}", IMAGE, 3)
    assert asked[1][0] == "AutoModelForImageClassification"
    shape = (2, config.get("num_channels", 3), scaled or 16, scaled or 16)
    assert made[0].calls[-1]["pixel_values"].shape == shape
    note = f"hf:{tmp_path} cannot take images of 16 × 16: they are scaled to {scaled} × {scaled}."
    assert (note in texts(model.notes)) == (scaled is not None)


def test_a_model_for_pictures_gets_grey_ones_in_three_channels(library, tmp_path):
    _, made = library
    made.append(Net())
    build_outside(f"hf:{tmp_path}", Inputs("image", (16, 16, 1), 256, mean=(0.0,), scale=(1.0,)), 3)
    assert made[0].calls[0]["pixel_values"].shape == (2, 3, 16, 16)


def test_a_model_for_pictures_is_not_loaded_for_rows_that_are_none(library, tmp_path):
    asked, made = library
    made.append(Net())
    with pytest.raises(OptionError, match="takes pictures, but these data are 5 features"):
        build_outside(f"hf:{tmp_path}", Inputs.dense(5), 3)
    assert asked == ["silence"]


def test_a_folder_that_cannot_be_loaded_is_refused_with_the_error_of_the_library(library, tmp_path):
    with pytest.raises(OptionError) as error:  # the library has no model to give
        build_outside(f"hf:{tmp_path}", TOKENS, 3)
    said = f"--model hf:{tmp_path} cannot be loaded as AutoModelForSequenceClassification: IndexError: list index"
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        (Inputs.dense(5), (5,)),
        (Inputs.dense(48, (8, 6)), (1, 8, 6)),
        (Inputs.dense(144, (8, 6, 3)), (3, 8, 6)),
        (Inputs("sparse", (10,), 50), (50,)),
        (IMAGE, (3, 16, 16)),
    ],
)
def test_a_function_is_called_with_the_shape_of_a_row_and_the_number_of_classes(module, inputs, shape):
    with pytest.raises(OptionError) as error:
        build(f"{module}:fails", inputs, 3, seed=0)
    assert str(error.value).endswith(f"it is called with {shape} and 3 classes")


def test_a_model_that_takes_no_pictures_is_given_them_as_flat_rows(module):
    model = build(f"{module}:flat", Inputs.dense(64, (8, 8)), 3, seed=0)
    x = torch.randn(2, 64)
    assert torch.equal(model.prepare(x), x)
    assert logits_of(model, x).shape == (2, 3)


@pytest.mark.parametrize(("size", "tried"), [(16, 1), (40, 2)])
def test_a_model_that_takes_no_size_is_refused_in_the_words_of_the_first(library, size, tried, tmp_path):
    _, made = library
    made.append(Net(side=99, image_size=size))
    with pytest.raises(OptionError, match="fails on these data: ValueError: only 99"):
        build_outside(f"hf:{tmp_path}", IMAGE, 3)
    assert len(made[0].calls) == tried


@pytest.mark.parametrize("name", ["bare", "optional", "odd"])
def test_a_model_that_is_one_layer_is_its_own_body(module, name):
    model = build(f"{module}:{name}", Inputs.dense(5), 3, seed=0)
    assert isinstance(model.head, nn.Identity)
    assert texts(model.notes) == (
        f"{module}:{name} does not end in a linear layer: its logits stand for its features.",
    )
    assert torch.equal(model.features(torch.ones(2, 5)), logits_of(model, torch.ones(2, 5)))


def test_a_linear_layer_that_is_not_the_last_one_is_left_in_its_place(module):
    model = build(f"{module}:hidden", Inputs.dense(5), 3, seed=0)
    assert isinstance(model.head, nn.Identity)
    assert [type(layer) for layer in model.body] == [nn.Linear, nn.Tanh]
    assert sorted(model.names.values()) == ["0.bias", "0.weight"]


def test_the_last_of_two_layers_for_the_classes_is_the_head(module):
    model = build(f"{module}:shared", Inputs.dense(5), 3, seed=0)
    assert (model.head.in_features, texts(model.notes)) == (3, ())
    assert [type(layer) for layer in model.body] == [nn.Linear, nn.ReLU, nn.Identity]
    assert sorted(model.names.values()) == ["0.bias", "0.weight", "2.bias", "2.weight"]


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("seven", Inputs.dense(5), "gives output of shape (2, 7) for 2 rows and 3 classes"),
        ("seven", Inputs("sparse", (10,), 50), "gives output of shape (2, 7) for 2 rows and 3 classes"),
        ("Pair", Inputs.dense(5), "gives output of type tuple for 2 rows and 3 classes"),
        ("three", Inputs.dense(5), "missing 1 required positional argument: 'third'"),
        ("bare", TOKENS, "cannot read tokens"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_what_it_gave(module, name, inputs, said):
    with pytest.raises(OptionError) as error:
        build(f"{module}:{name}", inputs, 3, seed=0)
    assert said in str(error.value)


class Pixels(nn.Module):
    """A model of a library, which takes pictures of one size or of any, in so many channels."""

    def __init__(self, channels, side=None, input_size=None):
        super().__init__()
        self.channels, self.side, self.seen = channels, side, []
        self.default_cfg = {} if input_size is None else {"input_size": input_size}

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        if x.shape[1] != self.channels or (self.side and x.shape[2:] != (self.side, self.side)):
            raise ValueError("not these")
        return torch.zeros(len(x), 3)


@pytest.mark.parametrize(("side", "shapes"), [(None, [(2, 3, 16, 16)]), (224, [(2, 3, 16, 16), (2, 3, 224, 224)])])
def test_a_model_of_torchvision_has_three_channels_and_224_pixels_if_need_be(side, shapes, monkeypatch):
    net = Pixels(3, side)
    fake = SimpleNamespace(list_models=lambda module: ["resnet18"], get_model=lambda name, weights, num_classes: net)
    monkeypatch.setitem(sys.modules, "torchvision.models", fake)
    grey = Inputs("image", (16, 16, 1), 256, mean=(0.0,), scale=(1.0,))
    build_outside("torchvision:resnet18", grey, 3)
    assert net.seen == shapes
    with pytest.raises(OptionError) as error:
        build_outside("torchvision:resnet81", grey, 3)
    assert str(error.value) == 'torchvision has no classifier "resnet81". Did you mean "resnet18"?'


@pytest.mark.parametrize(
    ("side", "size", "shapes"),
    [
        (None, (3, 32, 48), [(2, 1, 16, 16)]),
        (48, (3, 32, 48), [(2, 1, 16, 16), (2, 1, 48, 48)]),
        (224, None, [(2, 1, 16, 16), (2, 1, 224, 224)]),
    ],
)
def test_a_model_of_timm_has_the_channels_of_the_data_and_its_own_size_if_need_be(side, size, shapes, monkeypatch):
    net, asked = Pixels(1, side, size), []

    def create(name, **given):
        asked.append((name, given))
        return net

    fake = SimpleNamespace(is_model=lambda name: name == "vit", create_model=create, list_models=lambda: ["vit"])
    monkeypatch.setitem(sys.modules, "timm", fake)
    grey = Inputs("image", (16, 16, 1), 256, mean=(0.0,), scale=(1.0,))
    build_outside("timm:vit", grey, 3)
    assert asked == [("vit", {"pretrained": False, "num_classes": 3, "in_chans": 1})]
    assert net.seen == shapes
    with pytest.raises(OptionError) as error:
        build_outside("timm:vitt", grey, 3)
    assert str(error.value) == 'timm has no model "vitt". Did you mean "vit"?'
