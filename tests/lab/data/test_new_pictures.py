"""New picture files become the bytes that training had of them, or are refused by their paths."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from sfumato.lab.data import DataError, load
from sfumato.lab.data.images import image_paths, transform_images
from sfumato.lab.data.new_rows import encode_new


def paint(path, size, mode="RGB", seed=0, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else size[::-1]
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path, **save)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of many sizes and kinds, in nested class folders."""
    folder = tmp_path_factory.mktemp("photos")
    turned = Image.Exif()
    turned[0x0112] = 6
    for i, label in enumerate(("cat", "dog") * 4):
        paint(folder / label / f"{i}.png", (70 + 9 * i, 90), "RGB", i)
        paint(folder / label / "more" / f"{i}.jpg", (400, 260 + i), "RGB", 10 + i, exif=turned)
        paint(folder / label / f"grey-{i}.png", (80, 70), "L", 20 + i)
        paint(folder / label / f"clear-{i}.webp", (64, 99), "RGBA", 30 + i, lossless=True)
    return folder


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    """Grey pictures of one small size."""
    folder = tmp_path_factory.mktemp("stamps")
    for i, label in enumerate(("a", "b") * 4):
        paint(folder / label / f"{i}.png", (12, 10), "L", i)
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
    "a tuple of texts": lambda path: (str(path),),
    "an array of texts": lambda path: np.array([str(path)]),
    "a series": lambda path: pandas.Series([str(path)]),
    "a series of paths": lambda path: pandas.Series([path]),
}


@pytest.mark.parametrize("form", FORMS)
def test_paths_may_come_in_any_form(form, stamps):
    stored, trained = stored_of(stamps)
    assert np.array_equal(encode_new(stored, FORMS[form](stamps / "a" / "2.png")), trained[1:2])


def test_bytes_are_no_paths(photos):
    stored, trained = stored_of(photos)
    assert np.array_equal(encode_new(stored, trained), trained)
    assert np.array_equal(encode_new(stored, list(trained)), trained)


def test_where_training_pictures_were_scaled_a_new_one_may_have_any_size(photos, tmp_path):
    stored, _ = stored_of(photos)
    assert stored["side"] == 64
    paint(tmp_path / "new.png", (31, 500))
    assert encode_new(stored, tmp_path / "new.png").shape == (1, 64, 64, 3)


def refusal(stored, x):
    with pytest.raises(DataError) as refused:
        encode_new(stored, x)
    return str(refused.value)


def test_where_training_pictures_kept_their_size_another_size_is_refused(stamps, tmp_path):
    stored, _ = stored_of(stamps)
    assert "side" not in stored
    paint(tmp_path / "new.png", (10, 12), "L")
    assert refusal(stored, [stamps / "a" / "0.png", tmp_path / "new.png"]) == (
        f"{tmp_path / 'new.png'} has 10 × 12 pixels, and all training images had 12 × 10, so that none was scaled; "
        "bring it to this size first"
    )


def test_where_training_pictures_were_grey_colours_are_refused(stamps, tmp_path):
    stored, _ = stored_of(stamps)
    paint(tmp_path / "new.png", (12, 10))
    assert refusal(stored, tmp_path / "new.png") == (
        f"{tmp_path / 'new.png'} has colours (mode RGB), and the training images were grey; convert it to grey first"
    )


def test_a_damaged_picture_is_refused_by_its_path(photos, tmp_path):
    stored, _ = stored_of(photos)
    whole = (photos / "cat" / "0.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("half.png", "text.png"):
        told = f"{tmp_path / name} does not open as an image: repair it, or leave it out"
        assert refusal(stored, [photos / "cat" / "0.png", tmp_path / name]) == told


def test_a_file_that_is_missing_is_named(photos):
    stored, _ = stored_of(photos)
    assert refusal(stored, ["gone.png"]) == 'no file "gone.png"'


def test_a_folder_without_pictures_is_refused(photos, tmp_path):
    stored, _ = stored_of(photos)
    (tmp_path / "notes.txt").write_text("")
    assert refusal(stored, tmp_path).startswith(f'folder "{tmp_path}" holds no images (.png, .jpg, ')


def test_nothing_is_allocated_for_a_size_that_only_a_hostile_file_claims(photos):
    stored, _ = stored_of(photos)
    stored["inputs"]["shape"], stored["side"] = [10**6, 10**6, 3], 10**6
    assert refusal(stored, photos / "cat" / "0.png") == (
        "X: 3000.0 GB are needed for 1 image of 1000000 × 1000000; at most 8 GB are read at a time. Give fewer of them"
    )


def test_images_are_read_up_to_exactly_the_most_bytes(stamps):
    stored, trained = stored_of(stamps)
    paths = image_paths(stamps)
    assert np.array_equal(transform_images(stored, paths, max_bytes=trained.size), trained)
    with pytest.raises(DataError, match="^X: 0.0 GB are needed for 8 images of 12 × 10; at most 8 GB are read"):
        transform_images(stored, paths, max_bytes=trained.size - 1)


def test_where_training_pictures_had_colours_a_grey_one_is_read_in_colours(tmp_path):
    for i in range(8):
        paint(tmp_path / "made" / "ab"[i % 2] / f"{i}.png", (12, 10), "RGB", i)
    stored, _ = stored_of(tmp_path / "made")
    paint(tmp_path / "grey.png", (12, 10), "L")
    (read,) = encode_new(stored, tmp_path / "grey.png")
    assert read.shape == (10, 12, 3)
    assert np.array_equal(read, np.repeat(np.asarray(Image.open(tmp_path / "grey.png"))[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "x", [None, [], (), 3, np.eye(3), ["a", 3], [["a"]], np.array([1, 2], object), {"a": "b"}, pandas.Series([1])]
)
def test_what_holds_no_paths_is_none(x):
    assert image_paths(x) is None


def test_a_model_of_arrays_that_are_no_pictures_reads_no_files(photos):
    stored, _ = stored_of(photos)
    stored["inputs"]["shape"] = [64, 64, 4]
    told = "the model reads arrays of (n, 64, 64, 4), not image files"
    assert refusal(stored, Path(photos / "cat" / "0.png")) == told
