"""Folders of images, made here: what is read, resized, counted and refused."""

import numpy as np
import pytest
from PIL import Image

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare
from sfumato.lab.data.images import read_folder

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


def refusal(source, **roles):
    with pytest.raises(DataError) as caught:
        load(str(source), Roles(**roles))
    return str(caught.value)


def test_images_are_read_in_the_order_of_their_paths_with_their_folders_as_labels(tmp_path):
    painted = [paint(tmp_path / "pets" / label / f"{i}.png") for label in ("a", "b") for i in range(5)]
    table = load(str(tmp_path / "pets"))
    assert (table.name, table.kind, table.class_names) == ("pets", "folder", ("a", "b"))
    assert np.array_equal(table.features.pixels, painted)
    assert table.labels.tolist() == [0] * 5 + [1] * 5


def test_class_folders_called_by_numbers_are_sorted_as_numbers(tmp_path):
    for label in ("10", "9", "1"):
        for i in range(3):
            paint(tmp_path / "d" / label / f"{i}.png")
    assert load(str(tmp_path / "d")).class_names == ("1", "9", "10")


def test_grey_images_have_one_channel_and_a_mixture_three(tmp_path, folder):
    for label in ("a", "b"):
        for i in range(3):
            paint(tmp_path / "grey" / label / f"{i}.png", mode="L")
    assert load(str(tmp_path / "grey")).features.pixels.shape == (6, 12, 12, 1)
    paint(folder / "cat" / "grey.png", mode="L")
    paint(folder / "cat" / "clear.png", mode="RGBA")
    assert load(str(folder)).features.pixels.shape == (22, 12, 12, 3)


@pytest.mark.parametrize("darkest", [0, 1000])
def test_sixteen_bits_of_grey_keep_their_order_and_their_range(tmp_path, darkest):
    for label in ("a", "b"):
        for i in range(3):
            paint(tmp_path / "deep" / label / f"{i}.png", mode="L")
    ramp = np.linspace(darkest, 65535, 144).reshape(12, 12).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep" / "a" / "0.png")
    pixels = load(str(tmp_path / "deep")).features.pixels[0, :, :, 0]
    assert np.abs(pixels.astype(float) - ramp / 257).max() <= 0.5


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


def test_the_side_can_be_chosen(folder):
    assert load(str(folder), Roles(image_size=16)).features.pixels.shape == (20, 16, 16, 3)
    assert messages.texts(load(str(folder), Roles(image_size=12)).notes) == ()


def test_large_images_are_brought_to_64_pixels(tmp_path):
    for label in ("a", "b"):
        for i in range(3):
            paint(tmp_path / "big" / label / f"{i}.jpg", size=(300, 200))
    assert load(str(tmp_path / "big")).features.pixels.shape == (6, 64, 64, 3)


def test_a_photograph_on_its_side_is_turned(tmp_path):
    for label in ("a", "b"):
        for i in range(3):
            paint(tmp_path / "p" / label / f"{i}.png", size=(20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = paint(tmp_path / "p" / "a" / "0.png", size=(10, 20), exif=exif)
    table = load(str(tmp_path / "p"))
    assert np.array_equal(table.features.pixels[0], np.rot90(pixels, -1))


def test_parts_are_taken_from_folders_above_the_classes(tmp_path):
    for part, count in (("train", 6), ("val", 4), ("test", 5)):
        for label in ("a", "b"):
            for i in range(count):
                paint(tmp_path / "d" / part / label / f"{i}.png")
    data = prepare(str(tmp_path / "d"))
    assert [len(rows) for rows in (data.split.train, data.split.validation, data.split.test)] == [12, 8, 10]
    assert data.split.given == ("train", "validation", "test")


def test_without_a_test_folder_val_is_the_test_set_and_validation_is_cut_from_train(tmp_path):
    for part, count in (("train", 10), ("val", 4)):
        for label in ("a", "b"):
            for i in range(count):
                paint(tmp_path / "d" / part / label / f"{i}.png")
    data = prepare(str(tmp_path / "d"))
    assert [len(rows) for rows in (data.split.train, data.split.validation, data.split.test)] == [16, 4, 8]
    assert messages.texts(data.notes) == (
        "There is no test part: the validation part that was given is the test set.",
        "Validation was cut from the training rows: 4 of 20, by content.",
    )


def test_a_copy_under_another_name_is_never_on_both_sides(folder):
    for i in range(10):
        (folder / "cat" / f"copy{i}.png").write_bytes((folder / "cat" / f"{i}.png").read_bytes())
    data = prepare(str(folder))
    assert data.split.duplicates == 10
    contents = [
        {data.table.features.pixels[i].tobytes() for i in getattr(data.split, part)}
        for part in ("train", "validation", "test")
    ]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]


def test_hidden_files_and_files_that_are_no_images_are_passed_over(folder):
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "list.txt").write_text("x")
    (folder / ".cache").mkdir()
    table = load(str(folder))
    assert len(table.labels) == 20
    assert messages.texts(table.notes) == ("Not images, and ignored: 1 file (cat/list.txt).",)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "a header"])
def test_an_image_that_does_not_open_is_named_and_counted(folder, content):
    for i in range(100):
        paint(folder / "cat" / f"more{i}.png", size=(12, 12))
    (folder / "dog" / "bad.png").write_bytes(content)
    table = load(str(folder))
    assert table.found["damaged_images"] == ["dog/bad.png"]
    assert messages.texts(table.notes)[0] == "1 of 121 images does not open, left out: dog/bad.png."
    assert len(table.labels) == 120


def test_an_image_that_was_cut_off_is_counted_too(folder):
    for i in range(100):
        paint(folder / "cat" / f"more{i}.png")
    whole = (folder / "dog" / "3.png").read_bytes()
    (folder / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    assert load(str(folder)).found["damaged_images"] == ["dog/3.png"]


def test_more_than_one_in_a_hundred_that_do_not_open_are_refused(folder):
    (folder / "dog" / "bad.png").write_bytes(b"")
    (folder / "cat" / "worse.jpg").write_bytes(b"\xff\xd8\xff")
    assert refusal(folder) == (
        "pets: 2 of 22 images do not open, more than 1 %: cat/worse.jpg, dog/bad.png; repair or delete them"
    )


def test_folders_that_cannot_be_used_are_refused(tmp_path, folder):
    (folder / "empty").mkdir()
    assert refusal(folder) == (
        'pets: folder "empty" holds no images (.png, .jpg, .jpeg and others); add some, or delete it'
    )
    flat = tmp_path / "flat"
    paint(flat / "1.png")
    assert refusal(flat) == (
        "flat holds no folders; it needs one folder of images for each class, or train, val and test with them"
    )
    paint(tmp_path / "parts" / "val" / "a" / "1.png")
    assert refusal(tmp_path / "parts").startswith("parts has folders val but none called train")
    paint(tmp_path / "mixed" / "train" / "a" / "1.png")
    paint(tmp_path / "mixed" / "test" / "a" / "1.png")
    paint(tmp_path / "mixed" / "cat" / "1.png")
    assert refusal(tmp_path / "mixed") == (
        'mixed has folders for parts (test, train) and also "cat"; is it a class or a part? Move it'
    )
    paint(tmp_path / "loose" / "train" / "1.png")
    assert refusal(tmp_path / "loose") == (
        "loose: folder train holds no class folders; put its images in one folder for each class"
    )


def test_a_class_that_training_lacks_is_refused(tmp_path):
    for part, labels in (("train", "ab"), ("test", "abc")):
        for label in labels:
            for i in range(4):
                paint(tmp_path / "d" / part / label / f"{i}.png")
    with pytest.raises(DataError) as caught:
        prepare(str(tmp_path / "d"))
    assert str(caught.value) == (
        'd: class "c" has 4 rows and none of them to train on; move some to training, or drop the class'
    )


def test_a_column_is_no_option_for_a_folder(folder):
    assert refusal(folder, label="kind") == (
        '--label "kind" names a column of a table, but pets is a folder of images; leave it out'
    )


def plain(path, classes="ab", each=3, size=(4, 3), mode="L"):
    """A folder of pictures of one colour, which are made quickly."""
    for label in classes:
        for i in range(each):
            (path / label).mkdir(parents=True, exist_ok=True)
            Image.new(mode, size, i).save(path / label / f"{i}.png")
    return path


def test_two_folders_for_one_part_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        plain(tmp_path / "d" / part)
    assert refusal(tmp_path / "d") == "d has two folders for one part: train, val, valid; keep one of each"


def test_a_class_may_be_called_like_a_part_where_the_others_are_not(tmp_path):
    assert load(str(plain(tmp_path / "d", ("train", "bus")))).class_names == ("bus", "train")
    assert load(str(plain(tmp_path / "e", ("val", "test", "bus")))).class_names == ("bus", "test", "val")


def test_a_lone_folder_for_training_is_split(tmp_path):
    plain(tmp_path / "d" / "train")
    table = load(str(tmp_path / "d"))
    assert (table.part, table.class_names, len(table.labels)) == (None, ("a", "b"), 6)


def test_a_class_needs_three_images_or_one_where_the_parts_are_given(tmp_path):
    assert refusal(plain(tmp_path / "few", each=2)) == (
        'few: class "a" of the class folders has 2 rows; each class needs at least 3, one each for training, '
        "validation and test. Add images, or merge or delete the folder"
    )
    plain(tmp_path / "d" / "train", each=1)
    plain(tmp_path / "d" / "test", "a", each=1)
    assert load(str(tmp_path / "d")).part.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("sizes", "asked", "shape"),
    [
        ([(64, 64)] * 3, None, (64, 64)),
        ([(64, 10)] * 3, None, (10, 64)),
        ([(65, 64)] * 3, None, (64, 64)),
        ([(65, 63)] * 3, None, (32, 32)),
        ([(10, 65)] * 3, None, (32, 32)),
        ([(64, 64), (64, 64), (70, 70)], None, (64, 64)),
        ([(63, 70), (63, 70), (90, 90)], None, (32, 32)),
        ([(9, 9)] * 3, 9, (9, 9)),
        ([(9, 8)] * 3, 9, (9, 9)),
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


def test_the_sizes_that_were_scaled_are_told_as_they_were(tmp_path):
    (note,) = messages.texts(load(str(plain(tmp_path / "d", size=(70, 65)))).notes)
    assert note.startswith("Images of 70 × 65 pixels were brought to 64 × 64: ")


def test_one_image_in_a_hundred_may_be_damaged_and_no_more(tmp_path):
    folder = plain(tmp_path / "d", each=50)
    (folder / "a" / "0.png").write_bytes(b"")
    table = load(str(folder))
    assert messages.texts(table.notes) == ("1 of 100 images does not open, left out: a/0.png.",)
    assert len(table.features.pixels) == len(table.labels) == 99
    (folder / "b" / "0.png").unlink()
    assert refusal(folder) == "d: 1 of 99 images does not open, more than 1 %: a/0.png; repair or delete them"


def test_a_class_of_which_no_image_opens_is_refused(tmp_path):
    folder = plain(tmp_path / "d", each=50)
    (folder / "c").mkdir()
    (folder / "c" / "0.png").write_bytes(b"")
    assert refusal(folder) == 'd: no image of class "c" opens; repair or delete them'


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
