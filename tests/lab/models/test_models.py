"""Models: built in, from libraries, of the user's own, and from files of weights."""

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sfumato.lab.data import Inputs, prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.models import build, features_and_logits, logits_of, weights_hash
from sfumato.lab.models.built_in import SparseLinear, Spread
from sfumato.lab.options import Options
from sfumato.messages import texts

IMAGE = Inputs("image", (16, 16, 3), 768, mean=(120.0, 110.0, 100.0), scale=(60.0, 50.0, 40.0))
GREY = Inputs("image", (28, 28, 1), 784, mean=(33.0,), scale=(78.0,))
SPARSE = Inputs("sparse", (10,), 50)


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def rows(inputs, count=5):
    generator = torch.Generator().manual_seed(0)
    if inputs.kind == "image":
        return torch.randint(0, 256, (count, *inputs.shape), dtype=torch.uint8, generator=generator)
    if inputs.kind == "sparse":
        half = inputs.shape[0] // 2
        terms = torch.stack([torch.randperm(inputs.width, generator=generator)[:half] for _ in range(count)])
        weights = torch.rand(count, half, generator=generator)
        weights[:, half - 2 :] = 0  # filled up
        return torch.cat([terms * (weights > 0), weights], dim=1)
    return torch.randn(count, *inputs.shape, generator=generator)


def refusal(name, inputs=IMAGE, **more):
    def settle():
        Options("digits", model=name).check()
        build(name, inputs, 3, seed=0, **more)

    with pytest.raises(OptionError) as caught:
        settle()
    return str(caught.value)


@pytest.mark.parametrize("name", ["mlp", "linear", "cnn"])
@pytest.mark.parametrize("inputs", [IMAGE, GREY, Inputs.dense(64, (8, 8)), Inputs.dense(192, (3, 8, 8))])
def test_built_in_models_take_pictures_in_every_form(name, inputs):
    model = build(name, inputs, 7, seed=0)
    assert logits_of(model, rows(inputs)).shape == (5, 7)


def test_bytes_are_standardised_by_channel_before_anything_else():
    x = rows(IMAGE)
    expected = (x.double() - torch.tensor(IMAGE.mean)) / torch.tensor(IMAGE.scale)
    prepared = build("cnn", IMAGE, 3, seed=0).prepare(x)
    assert torch.allclose(prepared.double(), expected.permute(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize(("side", "stride"), [((48, 64), 1), ((49, 49), 2), ((8, 8), 1), ((64, 48), 1)])
def test_a_cnn_looks_at_every_second_place_of_large_pictures(side, stride):
    model = build("cnn", Inputs.dense(int(np.prod(side)), side), 3, seed=0)
    seen = model.body[0](model.prepare(torch.zeros(1, int(np.prod(side)))))
    assert tuple(seen.shape[2:]) == tuple(-(-length // stride) for length in side)


def test_a_cnn_is_what_its_description_says():
    model = build("cnn", GREY, 3, seed=0).eval()
    layers = [layer for layer in model.body if not isinstance(layer, nn.AdaptiveAvgPool2d | nn.Flatten)]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU] * 3
    x = model.prepare(rows(GREY))
    for convolution, pool, norm, _ in (layers[i : i + 4] for i in (0, 4, 8)):
        assert (convolution.kernel_size, pool.kernel_size) == ((3, 3), 2)
        x = norm(convolution(x)).relu()
        x = nn.functional.max_pool2d(x, 2, ceil_mode=True)  # the same as the maximum first, as the scale is above 0
    expected = model.head(x.mean((2, 3)))
    torch.testing.assert_close(model(rows(GREY)), expected)


@pytest.mark.parametrize("name", ["mlp", "linear"])
def test_a_model_on_sparse_rows_is_the_dense_one(name):
    sparse, dense = build(name, SPARSE, 4, seed=3), build(name, SPARSE.width, 4, seed=3)
    x = rows(SPARSE)
    spread = Spread(SPARSE)(x)
    assert torch.allclose(logits_of(sparse, x), logits_of(dense, spread), atol=1e-6)
    first = next(module for module in sparse.modules() if isinstance(module, SparseLinear))
    sparse(x).square().sum().backward()
    dense(spread).square().sum().backward()
    own = next(module for module in dense.modules() if isinstance(module, nn.Linear))
    assert torch.allclose(first.weight.grad.t(), own.weight.grad, atol=1e-5)


def test_logits_of_many_rows_are_those_of_each():
    model = build("mlp", 6, 3, seed=0)
    x = torch.randn(2500, 6)
    pairs = list(features_and_logits(model, x))
    assert [len(logits) for _, logits in pairs] == [1024, 1024, 452]
    assert torch.allclose(torch.cat([z for _, z in pairs]), model(x), atol=1e-6)


@needs("timm")
@pytest.mark.parametrize("inputs", [IMAGE, GREY], ids=["colour", "grey"])
def test_a_model_of_timm_is_taken_apart_into_features_and_a_linear_head(inputs):
    import timm

    model = build("timm:resnet10t", inputs, 5, seed=0)
    assert isinstance(model.head, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = timm.create_model("resnet10t", num_classes=5, in_chans=inputs.shape[2]).eval()
    x = rows(inputs)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(x), whole(model.prepare(x)))
        assert torch.equal(
            model.features(x), whole.forward_head(whole.forward_features(model.prepare(x)), pre_logits=True)
        )


@needs("timm")
def test_a_model_that_cannot_take_small_pictures_gets_larger_ones():
    model = build("timm:vit_tiny_patch16_224", IMAGE, 3, seed=0)
    assert texts(model.notes) == (
        "timm:vit_tiny_patch16_224 cannot take images of 16 × 16: they are scaled to 224 × 224.",
    )
    assert logits_of(model, rows(IMAGE)).shape == (5, 3)


@needs("torchvision")
def test_a_model_of_torchvision_takes_grey_pictures_as_three_channels():
    model = build("torchvision:shufflenet_v2_x0_5", GREY, 5, seed=0)
    assert model.prepare(rows(GREY)).shape == (5, 3, 28, 28)
    assert logits_of(model, rows(GREY)).shape == (5, 5)
    assert refusal("torchvision:shuflenet_v2_x0_5") == (
        'torchvision has no classifier "shuflenet_v2_x0_5". Did you mean "shufflenet_v2_x0_5"?'
    )


@needs("torchvision")
def test_a_model_without_a_linear_last_layer_has_its_logits_as_features():
    inputs = Inputs("image", (64, 64, 3), 64 * 64 * 3, mean=(0.0,) * 3, scale=(1.0,) * 3)
    model = build("torchvision:squeezenet1_1", inputs, 3, seed=0)
    assert texts(model.notes) == (
        "torchvision:squeezenet1_1 does not end in a linear layer: its logits stand for its features.",
    )
    assert torch.equal(model.eval().features(rows(inputs)), model(rows(inputs)))


MODULE = """
import torch
from torch import nn
def net(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(__import__("math").prod(shape), 8), nn.Tanh(), nn.Linear(8, classes))
def by_classes(classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
def wrong(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(768, 7))
def text(shape, classes): return "a model"
def fails(shape, classes): raise KeyError("weights")
def no_fit(shape, classes): return nn.Linear(5, classes)
def flat(shape, classes): return nn.Sequential(nn.Linear(768, 8), nn.Tanh(), nn.Linear(8, classes))
class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.out = nn.Linear(shape[0], classes)
    def forward(self, x): return self.out(x.mean((2, 3)))
"""


@pytest.mark.parametrize("callable_", ["net", "by_classes", "plain", "flat", "Net"])
def test_a_model_of_the_users_own_is_called_with_what_it_asks_for(module, callable_):
    model = build(f"{module}:{callable_}", IMAGE, 3, seed=0)
    assert isinstance(model.head, nn.Linear)
    assert not any(part._forward_hooks for part in model.modules())  # what looked for the last layer is gone
    assert logits_of(model, rows(IMAGE)).shape == (5, 3)
    assert weights_hash(model) == weights_hash(build(f"{module}:{callable_}", IMAGE, 3, seed=0))


def test_a_module_that_is_not_there_is_refused():
    assert refusal("no_such_module:Net") == 'no module "no_such_module" here or among the installed packages.'


def test_a_model_of_the_users_own_gets_dense_rows_of_texts(module):
    assert build(f"{module}:net", SPARSE, 3, seed=0).prepare(rows(SPARSE)).shape == (5, 50)


@pytest.mark.parametrize(
    ("callable_", "message"),
    [
        ("wrong", "--model {m}:wrong gives output of shape (2, 7) for 2 rows and 3 classes; expected a tensor of shape "
                  "(2, 3), the logits"),
        ("text", "{m}:text returned str, not a torch.nn.Module; it is called as text((3, 16, 16), 3) and must return a "
                 "model with 3 logits a row"),
        ("fails", "{m}:fails raised KeyError: 'weights' (line 10 of {m}.py); it is called with (3, 16, 16) and 3 "
                  "classes"),
        ("nett", '{m} has no "nett". Did you mean "net"?'),
    ],
)  # fmt: skip
def test_a_callable_that_gives_no_model_is_refused_with_what_was_expected(module, callable_, message):
    assert refusal(f"{module}:{callable_}") == message.format(m=module)


def test_a_model_that_fails_on_the_data_is_refused_with_its_error(module):
    assert "no_fit fails on these data: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in (
        refusal(f"{module}:no_fit")
    )


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_from_a_file_replace_those_drawn_and_another_last_layer_stays_as_drawn(tmp_path, ending):
    given = build("cnn", IMAGE, 8, seed=1)
    path = str(tmp_path / f"weights.{ending}")
    state = {name: tensor.contiguous() for name, tensor in given.state_dict().items()}
    if ending == "pt":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    else:
        save_file(state, path)
    model, drawn = build("cnn", IMAGE, 3, seed=0, pretrained=path), build("cnn", IMAGE, 3, seed=0)
    assert weights_hash(model.body) == weights_hash(given.body)
    assert weights_hash(model.head) == weights_hash(drawn.head)
    assert texts(model.notes)[-1] == (
        f"Pretrained weights from weights.{ending}: 18 tensors; drawn from the seed: head.weight, head.bias (of "
        "another shape in the file: head.weight (8, 128), head.bias (8,))."
    )


@needs("timm")
def test_weights_with_the_names_of_the_whole_model_find_their_places(tmp_path):
    import timm

    whole = timm.create_model("resnet10t", num_classes=1000)
    save_file(whole.state_dict(), str(tmp_path / "w.safetensors"))
    model = build("timm:resnet10t", IMAGE, 3, seed=0, pretrained=str(tmp_path / "w.safetensors"))
    assert torch.equal(model.body.conv1[0].weight, whole.conv1[0].weight)
    assert "drawn from the seed: fc.weight, fc.bias" in texts(model.notes)[-1]


def test_files_that_hold_no_weights_of_the_model_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal("mlp", pretrained="w.pt") == 'no file "w.pt" for --pretrained.'
    (tmp_path / "w.pt").write_bytes(b"nothing")
    assert refusal("mlp", pretrained="wx.pt") == 'no file "wx.pt" for --pretrained. Did you mean "w.pt"?'
    assert refusal("mlp", pretrained="w.pt") == (
        "w.pt cannot be read as weights: it is no file of PyTorch, or a damaged one"
    )
    (tmp_path / "w.onnx").write_bytes(b"")
    assert refusal("mlp", pretrained="w.onnx") == (
        "w.onnx: weights are read from .safetensors, or from .pt with a state dict"
    )
    torch.save(nn.Linear(2, 2), tmp_path / "code.pt")
    assert refusal("mlp", pretrained="code.pt") == (
        "code.pt holds more than weights, which is not read because it can run code; save model.state_dict()"
    )
    save_file({"a": torch.zeros(2)}, str(tmp_path / "other.safetensors"))
    assert refusal("mlp", pretrained="other.safetensors") == (
        "other.safetensors does not fit the model: 0 of its 4 weights are there (the model has body.0.bias, "
        "body.0.weight, body.2.bias; the file a)"
    )


@needs("transformers")
@pytest.mark.slow
@pytest.mark.parametrize(("longest", "kept"), [(16, 16), (1000, 128)])
def test_a_language_model_from_a_folder_reads_texts_as_its_tokens(tmp_path, longest, kept):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["alpha", "beta", "gamma", "delta"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[PAD]", "[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "bert"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=longest
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=7
    )
    given = BertForSequenceClassification(config)
    given.save_pretrained(folder)
    rng = np.random.default_rng(0)
    lines = [f"{' '.join(rng.choice(words, 1 + 9 * (i % 20)))},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "made.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    options = Options(str(tmp_path / "made.csv"), text="text", model=f"hf:{folder}")
    options.check()
    data = prepare(options.data, options.roles())
    assert (data.inputs.kind, data.inputs.shape) == ("tokens", (kept,))
    model = build(options.model, data.inputs, 2, seed=0)
    assert torch.equal(
        model.body.net.bert.embeddings.word_embeddings.weight, given.bert.embeddings.word_embeddings.weight
    )
    features, _ = data.arrays("test")
    ids = torch.from_numpy(features[:1])
    alone = model(ids[:, : int((ids > 0).sum())])
    assert torch.allclose(model.eval()(torch.from_numpy(features))[:1], alone, atol=1e-6)


@needs("transformers")
@pytest.mark.slow
def test_a_language_model_that_finds_its_last_token_by_the_padding_is_given_its_own(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    model = build(f"hf:{tmp_path}", Inputs("tokens", (6,), 6), 3, seed=0).eval()
    ids = torch.tensor([[3, 5, 0, 0, 0, 0], [4, 2, 7, 8, 9, 3]])  # one above the model's; 0 is none
    assert torch.allclose(model(ids)[0], model(ids[:1, :2])[0], atol=1e-6)


def test_a_seed_alone_makes_the_weights_and_leaves_the_callers_random_state():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert weights_hash(build("mlp", 4, 3, seed=1)) == weights_hash(build("mlp", 4, 3, seed=1))
    assert weights_hash(build("mlp", 4, 3, seed=1)) != weights_hash(build("mlp", 4, 3, seed=2))
    assert torch.equal(torch.get_rng_state(), state)
