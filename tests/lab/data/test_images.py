"""Pictures of one size: their channels' means and scales, their rows, and what is kept of them."""

import numpy as np
import pytest

from sfumato.lab.data import images
from sfumato.lab.data.images import Images
from sfumato.lab.data.table import as_hashes

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 4, 5, 3), np.uint8)


def test_mean_and_scale_of_each_channel_are_those_of_the_training_pictures(monkeypatch):
    rows = np.array([9, 0, 4, 7, 2, 3, 10])
    train = PIXELS[rows].astype(np.float64)
    for most in (1, 3, 7, 2**12):
        monkeypatch.setattr(images, "_CHUNK", most)
        form = Images(PIXELS).fit(rows, "made").inputs
        np.testing.assert_allclose(form.mean, train.mean(axis=(0, 1, 2)), rtol=1e-14)
        np.testing.assert_allclose(form.scale, train.std(axis=(0, 1, 2)), rtol=1e-12)
    assert (form.kind, form.shape, form.width, form.picture) == ("image", (4, 5, 3), 60, ())


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_channel_of_one_value_has_scale_1(value):
    pixels = PIXELS.copy()
    pixels[..., 1] = value
    form = Images(pixels).fit(np.arange(6), "made").inputs
    assert (form.mean[1], form.scale[1]) == (value, 1)
    assert 1 not in (form.scale[0], form.scale[2])


def test_a_scale_below_1_is_kept():
    pixels = np.zeros((4, 2, 2, 1), np.uint8)
    pixels[0, 0, 0] = 1  # one pixel of sixteen
    assert Images(pixels).fit(np.arange(4), "made").inputs.scale == pytest.approx((np.sqrt(15) / 16,))


def test_rows_are_the_pictures_themselves_in_the_order_asked_for():
    encoder = Images(PIXELS, side=4).fit(np.arange(6), "made")
    assert np.array_equal(encoder.encode(np.array([8, 1, 1])), PIXELS[[8, 1, 1]])
    assert (encoder.notes, encoder.learned) == ((), {"features": "images", "side": 4})
    assert Images(PIXELS).fit(np.arange(6), "made").learned == {"features": "images"}


def test_pictures_are_known_by_their_bytes_and_have_no_columns():
    held = Images(PIXELS)
    assert (len(held), held.raw_columns()) == (11, ())
    assert np.array_equal(held.hashes(), as_hashes(picture.tobytes() for picture in PIXELS))
