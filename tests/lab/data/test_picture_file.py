"""Single pictures: which files are taken for them, how large they are upright, and their pixels as bytes."""

import warnings

import numpy as np
import pytest
from PIL import Image

from sfumato.lab.data.images import header, images_below, pixels_of, read_image


def saved(path, values, kind):
    Image.fromarray(np.array(values, kind)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "values", "pixels"),
    [
        ("float32", [[100.0, 140.0, 200.0]], [[0, 102, 255]]),  # by their own range
        ("float32", [[-1.0, 0.0, 4.0]], [[0, 51, 255]]),
        ("float32", [[7.0, 7.0]], [[0, 0]]),
        ("uint16", [[0, 257, 65535]], [[0, 1, 255]]),
        ("int32", [[0, 257, 65535]], [[0, 1, 255]]),  # within 16 bits
        ("int32", [[257, 65535]], [[1, 255]]),
        ("int32", [[0, 257]], [[0, 1]]),
        ("uint16", [[128, 129]], [[0, 1]]),  # 128.5 / 257 is a half
        ("int32", [[257, 65536]], [[0, 255]]),
        ("int32", [[514, 771]], [[2, 3]]),
        ("int32", [[-10, 0, 41]], [[0, 50, 255]]),
        ("int32", [[1, 32769, 65537]], [[0, 128, 255]]),
    ],
)
def test_grey_values_beyond_a_byte_are_scaled(tmp_path, kind, values, pixels):
    path = saved(tmp_path / "a.tif", values, kind)
    assert read_image(path, lambda image: pixels_of(image, None, grey=True)).tolist() == pixels


@pytest.mark.parametrize(("turn", "size"), [(k, (3, 2) if k < 5 else (2, 3)) for k in range(1, 9)])
def test_the_size_is_that_of_the_picture_when_it_stands_upright(tmp_path, turn, size):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png", exif=exif)
    assert read_image(str(tmp_path / "a.png"), header) == (size, False)
    pixels = read_image(str(tmp_path / "a.png"), lambda image: pixels_of(image, None, grey=False))
    assert pixels.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("mode", "grey"), [("1", True), ("L", True), ("LA", True), ("I;16", True), ("RGB", False), ("P", False)]
)
def test_a_picture_is_grey_if_it_has_one_channel_and_no_palette(tmp_path, mode, grey):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert read_image(str(tmp_path / "a.png"), header) == ((3, 2), grey)


def test_a_large_picture_is_read_without_a_warning_and_a_bomb_is_none(tmp_path, monkeypatch):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # Pillow warns of more pixels, and refuses twice as many
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert read_image(str(tmp_path / "a.png"), header) == ((3, 2), True)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
        assert read_image(str(tmp_path / "a.png"), header) is None
    assert told == []


@pytest.mark.parametrize("clear", [1, b"\xff\x00"], ids=["one colour", "a byte for each"])
def test_what_is_clear_in_a_palette_keeps_its_colour_without_a_warning(tmp_path, clear):
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=clear)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pixels = read_image(str(tmp_path / "a.png"), lambda image: pixels_of(image, None, grey=False))
    assert pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert told == []


def test_a_file_that_is_no_picture_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert read_image(str(tmp_path / "a.png"), header) is None
    assert read_image(str(tmp_path / "none.png"), header) is None


def test_a_picture_is_scaled_by_its_shorter_side_and_cut_to_the_middle(tmp_path):
    stripes = np.repeat([[10] * 4 + [200] * 4 + [10] * 4], 4, axis=0)
    path = saved(tmp_path / "a.png", stripes, np.uint8)
    assert read_image(path, lambda image: pixels_of(image, 4, grey=True)).tolist() == [[200] * 4] * 4


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((64, 64), 8, (16, 16)),
        ((64, 128), 8, (16, 32)),
        ((128, 64), 8, (32, 16)),
        ((64, 64), 9, (32, 32)),
        ((64, 64), 17, (64, 64)),
        ((64, 64), None, (64, 64)),
    ],
)
def test_a_jpeg_is_decoded_at_least_twice_as_large_as_it_is_wanted_and_no_larger(tmp_path, size, side, decoded):
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "a.jpg")

    def look(image):
        return pixels_of(image, side, grey=False), image.size

    pixels, found = read_image(str(tmp_path / "a.jpg"), look)
    assert found == decoded
    assert pixels.shape == ((side, side, 3) if side else (64, 64, 3))
    assert np.abs(pixels - np.array([200.0, 100, 50])).max() <= 2


def test_pictures_are_in_the_order_of_their_paths_the_files_of_a_folder_first(tmp_path):
    names = ("b.png", "a.JPG", "in/c.gif", "in/d.txt", "e.csv", ".hidden.png", ".in/f.png", "also/g.webp")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [
        [str(tmp_path / name) for name in each]
        for each in (
            ("a.JPG", "b.png", "also/g.webp", "in/c.gif"),
            ("e.csv", "in/d.txt"),
        )
    ]
    assert list(images_below(str(tmp_path))) == found
