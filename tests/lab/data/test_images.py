"""Images of a folder, single files, arrays and new ones: what is read, resized, counted and refused."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare
from sfumato.lab.data.images import Images, header, image_paths, images_below, pixels_of, read_folder, read_image
from sfumato.lab.data.new_rows import encode_new
from tests.lab.data import refused

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 4, 5, 3), np.uint8)


def test_mean_and_scale_of_each_channel_are_those_of_the_training_pictures():
    rows = np.array([9, 0, 4, 7, 2, 3, 10])
    train = PIXELS[rows].astype(np.float64)
    for most in (1, 3, 7, 2**12):
        form = Images(PIXELS).fit(rows, "made", chunk=most).inputs
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


def test_rows_are_the_pictures_themselves_in_the_order_asked_for():
    encoder = Images(PIXELS, side=4).fit(np.arange(6), "made")
    assert np.array_equal(encoder.encode(np.array([8, 1, 1])), PIXELS[[8, 1, 1]])
    assert (encoder.notes, encoder.learned) == ((), {"features": "images", "side": 4})
    assert Images(PIXELS).fit(np.arange(6), "made").learned == {"features": "images"}


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
        ("uint16", [[128, 129]], [[0, 1]]),  # 128.5 / 257 is a half
        ("int32", [[257, 65536]], [[0, 255]]),
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


def test_a_picture_is_scaled_by_its_shorter_side_and_cut_to_the_middle(tmp_path):
    stripes = np.repeat([[10] * 4 + [200] * 4 + [10] * 4], 4, axis=0)
    path = saved(tmp_path / "a.png", stripes, np.uint8)
    assert read_image(path, lambda image: pixels_of(image, 4, grey=True)).tolist() == [[200] * 4] * 4


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [((64, 64), 8, (16, 16)), ((64, 128), 8, (16, 32)), ((64, 64), 9, (32, 32)), ((64, 64), None, (64, 64))],
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
        for each in (("a.JPG", "b.png", "also/g.webp", "in/c.gif"), ("e.csv", "in/d.txt"))
    ]
    assert list(images_below(str(tmp_path))) == found


RNG = np.random.default_rng(0)


def paint(path, size=(12, 12), mode="RGB", **save):
    channels = {"RGB": 3, "RGBA": 4}.get(mode)
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    pixels = RNG.integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **save)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten images each."""
    for label in ("cat", "dog"):
        for i in range(10):
            paint(tmp_path / "pets" / label / f"{i}.png")
    return tmp_path / "pets"


def folder_refusal(source, **roles):
    return refused(load, str(source), Roles(**roles))


def test_images_are_read_in_the_order_of_their_paths_with_their_folders_as_labels(tmp_path):
    painted = [paint(tmp_path / "pets" / label / f"{i}.png") for label in ("a", "b") for i in range(5)]
    table = load(str(tmp_path / "pets"))
    assert (table.name, table.kind, table.class_names) == ("pets", "folder", ("a", "b"))
    assert np.array_equal(table.features.pixels, painted)
    assert table.labels.tolist() == [0] * 5 + [1] * 5


def test_grey_images_have_one_channel_and_a_mixture_three(tmp_path, folder):
    for label in ("a", "b"):
        for i in range(3):
            paint(tmp_path / "grey" / label / f"{i}.png", mode="L")
    assert load(str(tmp_path / "grey")).features.pixels.shape == (6, 12, 12, 1)
    paint(folder / "cat" / "grey.png", mode="L")
    paint(folder / "cat" / "clear.png", mode="RGBA")
    assert load(str(folder)).features.pixels.shape == (22, 12, 12, 3)


def test_images_of_other_sizes_are_scaled_and_cut_to_squares_by_a_rule_that_is_told(folder):
    pixels = paint(folder / "dog" / "wide.png", size=(48, 24))
    table = load(str(folder))
    assert table.features.pixels.shape == (21, 32, 32, 3)
    assert messages.texts(table.notes) == (
        "Images of 12 × 12 to 48 × 24 pixels were brought to 32 × 32: the shorter side scaled, the longer one cut to "
        "the middle (--image-size takes another side).",
    )
    middle = Image.fromarray(pixels[:, 12:36]).resize((32, 32), Image.Resampling.BILINEAR)
    wide = table.features.pixels[-1].astype(float)
    inner = slice(4, 28)  # at the edges of the cut a neighbour counts that the cut picture lacks
    assert np.abs(wide - np.asarray(middle, float))[inner, inner].max() <= 1


def test_parts_are_taken_from_folders_above_the_classes(tmp_path):
    for part, count in (("train", 6), ("val", 4), ("test", 5)):
        for label in ("a", "b"):
            for i in range(count):
                paint(tmp_path / "d" / part / label / f"{i}.png")
    data = prepare(str(tmp_path / "d"))
    assert [len(rows) for rows in (data.split.train, data.split.validation, data.split.test)] == [12, 8, 10]
    assert data.split.given == ("train", "validation", "test")


def plain(path, classes="ab", each=3, size=(4, 3), mode="L"):
    """A folder of images of one color, which are made quickly."""
    for label in classes:
        for i in range(each):
            (path / label).mkdir(parents=True, exist_ok=True)
            Image.new(mode, size, i).save(path / label / f"{i}.png")
    return path


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["a/1.png", "b/1.txt"], 'd: folder "b" holds no images (.png, .jpg, .jpeg and others); add some'),
        (["1.png"], "d holds no folders; it needs one folder of images for each class, or train"),
        (["val/a/1.png"], "d has folders val but none called train"),
        (["train/a/1.png", "test/a/1.png", "cat/1.png"], 'd has folders for parts (test, train) and also "cat"'),
        (["train/1.png"], "d: folder train holds no class folders; put its images in one folder for each"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "d has two folders for one part: train, val, valid;"),
        (["a/1.png", "a/2.png", "b/1.png"], 'd: class "a" of the class folders has 2 rows; each class needs'),
    ],
)
def test_folders_that_cannot_be_used_are_refused(tmp_path, paths, told):
    for path in paths:
        (tmp_path / "d" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3)).save(tmp_path / "d" / path, "png")
    assert folder_refusal(tmp_path / "d").startswith(told)


def test_a_class_may_be_called_like_a_part_where_the_others_are_not(tmp_path):
    assert load(str(plain(tmp_path / "d", ("train", "bus")))).class_names == ("bus", "train")
    assert load(str(plain(tmp_path / "e", ("val", "test", "bus")))).class_names == ("bus", "test", "val")


def test_a_class_needs_one_image_where_the_parts_are_given(tmp_path):
    plain(tmp_path / "d" / "train", each=1)
    plain(tmp_path / "d" / "test", "a", each=1)
    assert load(str(tmp_path / "d")).part.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("sizes", "asked", "shape"),
    [
        ([(64, 64)] * 3, None, (64, 64)),
        ([(64, 10)] * 3, None, (10, 64)),
        ([(65, 63)] * 3, None, (32, 32)),
        ([(64, 64), (64, 64), (70, 70)], None, (64, 64)),
        ([(63, 70), (63, 70), (90, 90)], None, (32, 32)),
        ([(9, 9)] * 3, 9, (9, 9)),
        ([(8, 9)] * 3, 9, (9, 9)),
        ([(64, 64)] * 3, 9, (9, 9)),
    ],
)
def test_the_side_follows_from_the_sizes_unless_it_is_asked_for(tmp_path, sizes, asked, shape):
    for i, size in enumerate(sizes):
        for label in "ab":
            (tmp_path / "d" / label).mkdir(parents=True, exist_ok=True)
            Image.new("L", size).save(tmp_path / "d" / label / f"{i}.png")
    table = load(str(tmp_path / "d"), Roles(image_size=asked))
    assert table.features.pixels.shape == (6, *shape, 1)
    stays = len(set(sizes)) == 1 and sizes[0] == shape[::-1]
    assert len(table.notes) == (0 if stays else 1)


def test_one_image_in_a_hundred_may_be_damaged_and_no_more(tmp_path):
    folder = plain(tmp_path / "d", each=50)
    for content in (b"not an image", b"\x89PNG\r\n\x1a\n", b""):
        (folder / "a" / "0.png").write_bytes(content)
        table = load(str(folder))
        assert table.found["damaged_images"] == ["a/0.png"]
        assert messages.texts(table.notes) == ("1 of 100 images does not open, left out: a/0.png.",)
    assert len(table.features.pixels) == len(table.labels) == 99
    (folder / "b" / "0.png").unlink()
    assert folder_refusal(folder) == "d: 1 of 99 images does not open, more than 1 %: a/0.png; repair or delete them"


def test_what_was_left_out_is_counted_for_the_record(tmp_path):
    folder = plain(tmp_path / "d")
    for i in range(4):
        (folder / "a" / f"{i}.txt").touch()
    table = load(str(folder))
    assert table.found == {"damaged_images": [], "files_passed_over": 4}
    assert messages.texts(table.notes) == ("Not images, and ignored: 4 files (a/0.txt, a/1.txt, a/2.txt and 1 more).",)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_as_many_pixels_as_may_be_held_are_held_and_not_more(tmp_path, mode, channels):
    folder, size = str(plain(tmp_path / "d", mode=mode)), 6 * 4 * 3 * channels
    how = {"file": "d", "name": "d", "roles": Roles()}
    assert read_folder(folder, **how, max_bytes=size).features.pixels.shape == (6, 3, 4, channels)
    with pytest.raises(DataError, match="^d: 6 images of 4 × 3 take 0.0 GB; at most 8 GB are used. Take a smaller"):
        read_folder(folder, **how, max_bytes=size - 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of many sizes and kinds, in nested class folders."""
    folder = tmp_path_factory.mktemp("photos")
    turned = Image.Exif()
    turned[0x0112] = 6
    for i, label in enumerate(("cat", "dog") * 4):
        paint(folder / label / f"{i}.png", (70 + 9 * i, 90), "RGB")
        paint(folder / label / "more" / f"{i}.jpg", (400, 260 + i), "RGB", exif=turned)
        paint(folder / label / f"grey-{i}.png", (80, 70), "L")
        paint(folder / label / f"clear-{i}.webp", (64, 99), "RGBA", lossless=True)
    return folder


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    """Grey pictures of one small size."""
    folder = tmp_path_factory.mktemp("stamps")
    for i, label in enumerate(("a", "b") * 4):
        paint(folder / label / f"{i}.png", (12, 10), "L")
    return folder


def stored_of(folder):
    """How the pictures of a folder were encoded, and what training had of them."""
    features = load(str(folder)).features
    encoder = features.fit(np.arange(4), "made")
    return encoder.stored(), encoder.encode(np.arange(len(features)))


@pytest.mark.parametrize("name", ["photos", "stamps"])
def test_the_files_that_were_trained_on_become_the_bytes_of_training(name, request):
    folder = request.getfixturevalue(name)
    stored, trained = stored_of(folder)
    assert np.array_equal(encode_new(stored, folder), trained)
    backwards = image_paths(folder)[::-1]
    assert np.array_equal(encode_new(stored, backwards), trained[::-1])


FORMS = {
    "one path": lambda path: path,
    "one text": str,
    "a list of paths": lambda path: [path],
    "an array of texts": lambda path: np.array([str(path)]),
    "a series of paths": lambda path: pandas.Series([path]),
}


@pytest.mark.parametrize("form", FORMS)
def test_paths_may_come_in_any_form(form, stamps):
    stored, trained = stored_of(stamps)
    assert np.array_equal(encode_new(stored, FORMS[form](stamps / "a" / "2.png")), trained[1:2])


refusal = partial(refused, encode_new)


@pytest.mark.parametrize(
    ("size", "mode", "told"),
    [
        ((10, 12), "L", "has 10 × 12 pixels, and all training images had 12 × 10, so that none was scaled;"),
        ((12, 10), "RGB", "has colours (mode RGB), and the training images were grey; convert it"),
    ],
)
def test_a_picture_of_another_size_or_with_colours_is_refused(stamps, tmp_path, size, mode, told):
    stored, _ = stored_of(stamps)
    assert "side" not in stored
    paint(tmp_path / "new.png", size, mode)
    told = f"{tmp_path / 'new.png'} {told}"
    assert refusal(stored, [stamps / "a" / "0.png", tmp_path / "new.png"]).startswith(told)


def test_a_damaged_picture_is_refused_by_its_path(photos, tmp_path):
    stored, _ = stored_of(photos)
    whole = (photos / "cat" / "0.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("half.png", "text.png"):
        told = f"{tmp_path / name} does not open as an image: repair it, or leave it out"
        assert refusal(stored, [photos / "cat" / "0.png", tmp_path / name]).startswith(told)


def test_no_pictures_a_size_that_only_a_hostile_file_claims_and_a_model_of_arrays_are_refused(photos, tmp_path):
    stored, _ = stored_of(photos)
    assert refusal(stored, tmp_path).startswith(f'folder "{tmp_path}" holds no images (.png, .jpg, ')
    stored["inputs"]["shape"], stored["side"] = [10**6, 10**6, 3], 10**6
    assert refusal(stored, photos / "cat" / "0.png").startswith("X: 3000.0 GB are needed for 1 image of")
    stored["inputs"]["shape"] = [64, 64, 4]
    told = "the model reads arrays of (n, 64, 64, 4), not image files"
    assert refusal(stored, Path(photos / "cat" / "0.png")).startswith(told)


@pytest.mark.parametrize(
    "x", [None, [], (), 3, np.eye(3), ["a", 3], [["a"]], np.array([1, 2], object), {"a": "b"}, pandas.Series([1])]
)
def test_what_holds_no_paths_is_none(x):
    assert image_paths(x) is None
