"""Rows of the data as the pictures that a model takes: their layout, their channels and their size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.lab.data import Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.models.built_in import Flat, as_picture, channel_axis


def dense(*shape):
    return Inputs.dense(int(np.prod(shape)), shape)


def image(*shape):
    return Inputs("image", shape, int(np.prod(shape)), mean=(10.0, 20.0, 30.0), scale=(1.0, 2.0, 4.0))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 8, 8), 0), ((3, 8, 8), 0), ((4, 8, 8), 0), ((2, 8, 8), None), ((5, 8, 8), None), ((8, 8, 1), 2),
        ((8, 8, 3), 2), ((8, 8, 4), 2), ((8, 8, 2), None), ((8, 3, 8), None), ((3, 8, 3), 0),
    ],
)  # fmt: skip
def test_channels_are_the_first_or_the_last_axis_of_1_3_or_4(shape, axis):
    assert channel_axis(shape) == axis


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (dense(9, 7), (9, 7, 1)),
        (dense(3, 9, 7), (9, 7, 3)),
        (dense(9, 7, 3), (9, 7, 3)),
        (dense(1, 9, 7), (9, 7, 1)),
        (image(9, 7, 3), (9, 7, 3)),
        (image(4, 7, 3), (4, 7, 3)),  # bytes have their channels last, whatever the height
    ],
)
def test_a_picture_has_the_height_width_and_channels_of_its_rows(inputs, found):
    assert as_picture(inputs, "cnn")[1:] == found
    assert as_picture(inputs, "cnn", channels=5)[1:] == (*found[:2], 5)
    x = torch.zeros(2, *inputs.shape)
    assert as_picture(inputs, "cnn")[0](x).shape == (2, found[2], *found[:2])


@pytest.mark.parametrize(
    "inputs",
    [Inputs.dense(5), dense(8, 8, 8), dense(3, 4, 4, 4), Inputs("sparse", (10,), 50), Inputs("tokens", (6,), 6)],
)
def test_rows_that_are_no_pictures_are_refused(inputs):
    with pytest.raises(OptionError) as error:
        as_picture(inputs, "cnn")
    assert str(error.value) == (
        f"--model cnn takes pictures, but these data are {inputs.describe()}; use --model mlp or --model linear"
    )


def test_a_grey_picture_is_repeated_and_of_colour_the_first_channels_are_taken():
    grey = torch.arange(12.0).reshape(1, 12)
    made = as_picture(dense(3, 4), "cnn", channels=3)[0](grey)
    assert torch.equal(made, grey.reshape(1, 1, 3, 4).expand(-1, 3, -1, -1))
    for count in (3, 4):
        colour = torch.arange(float(count * 30)).reshape(1, count, 5, 6)
        made = as_picture(dense(count, 5, 6), "cnn", channels=3)[0](colour.flatten(1))
        assert torch.equal(made, colour[:, :3])


@pytest.mark.parametrize(("own", "asked"), [(3, 1), (4, 1), (3, 4), (3, 6)])
def test_a_model_of_other_channels_sees_the_mean_of_the_colours_in_each(own, asked):
    colour = torch.arange(float(2 * own * 30)).reshape(2, own, 5, 6)
    made = as_picture(dense(own, 5, 6), "cnn", channels=asked)[0](colour.flatten(1))
    assert torch.equal(made, colour[:, :3].mean(1, keepdim=True).expand(-1, asked, -1, -1))


@pytest.mark.parametrize("size", [(4, 4), (16, 12), (3, 20)])
def test_a_picture_of_another_size_is_scaled_as_pillow_scales_it(size):
    x = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    made = as_picture(dense(8, 6), "cnn", size=size)[0](torch.from_numpy(x).reshape(1, 48))
    expected = np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling.BILINEAR))
    assert made.shape == (1, 1, *size)
    np.testing.assert_allclose(made[0, 0].numpy(), expected, atol=1e-5)


def test_a_picture_of_its_own_size_is_left_as_it_is():
    x = torch.randn(2, 48)
    assert torch.equal(as_picture(dense(8, 6), "cnn", size=(8, 6))[0](x), x.reshape(2, 1, 8, 6))


def test_bytes_are_standardised_in_flat_rows_too_channel_by_channel():
    x = torch.arange(12, dtype=torch.uint8).reshape(1, 2, 2, 3)
    expected = [(0 - 10) / 1, (3 - 10) / 1, (6 - 10) / 1, (9 - 10) / 1]
    expected += [(1 - 20) / 2, (4 - 20) / 2, (7 - 20) / 2, (10 - 20) / 2]
    expected += [(2 - 30) / 4, (5 - 30) / 4, (8 - 30) / 4, (11 - 30) / 4]
    assert Flat(image(2, 2, 3))(x).tolist() == [expected]
