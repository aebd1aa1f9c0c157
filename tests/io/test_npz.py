"""Archives that may come from anyone: what is read, where an array begins, and claims that do not agree."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from sfumato.io.arrays import Archive, FileError, read_header

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def bytes_of(array):
    stream = io.BytesIO()
    npy.write_array(stream, array)
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path):
    """An archive with these entries, as bytes or arrays; packed by this method."""

    def archive(entries, method=zipfile.ZIP_STORED):
        path = tmp_path / "things.npz"
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in entries.items():
                file.writestr(name, content if isinstance(content, bytes) else bytes_of(content))
        return path

    return archive


DAMAGED = "t.npz: X is cut off or damaged "


def refusal(path, name, method="read", **how):
    with Archive(path, "t.npz") as file, pytest.raises(FileError) as caught:
        getattr(file, method)(name, **how)
    text = str(caught.value)
    return text.removeprefix(DAMAGED) if text.startswith(DAMAGED) else text.removeprefix("t.npz")


def test_entries_are_known_by_name_with_the_bytes_that_they_claim(archive):
    path = archive({"X.npy": X, "notes": b"hello"}, zipfile.ZIP_DEFLATED)
    with Archive(path, "t.npz") as file:
        assert file.sizes == {"X": len(bytes_of(X)), "notes": 5}
        assert file.arrays == ["X"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("array", [X, np.asfortranarray(X), X.astype(">f8"), np.array(["é", "owl"]), np.array([b"a"])])
def test_an_array_is_read_as_it_was_written(array, method, archive):
    with Archive(archive({"X.npy": array}, method), "t.npz") as file:
        found = file.read("X")
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
        header = file.header("X")
        assert (header.shape, header.fortran, header.dtype) == (
            array.shape, array.flags.f_contiguous and not array.flags.c_contiguous, array.dtype,
        )  # fmt: skip
        assert header.length + header.data_bytes == file.sizes["X"]
        assert header.data_bytes == array.nbytes


def test_the_place_of_a_stored_array_is_where_its_bytes_begin(archive):
    path = archive({"first.npy": np.ones(5), "X.npy": X})
    with Archive(path, "t.npz") as file:
        start = file.place("X")
        assert path.read_bytes()[start : start + file.sizes["X"]] == bytes_of(X)
        with file.open("X") as stream:
            assert stream.read() == bytes_of(X)
    with Archive(archive({"X.npy": X}, zipfile.ZIP_DEFLATED), "t.npz") as file:
        assert file.place("X") is None


def test_an_array_whose_bytes_are_not_there_has_no_place(archive):
    path = archive({"X.npy": X})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"PK\x03\x04", b"XX\x03\x04", 1))
    assert refusal(path, "X", "place").startswith("(no header at byte 0)")
    size = len(bytes_of(X))
    claims = struct.pack("<II", size + 9999, size + 9999)  # in the list of contents alone
    path.write_bytes(whole[::-1].replace(struct.pack("<II", size, size)[::-1], claims[::-1], 1)[::-1])
    text = refusal(path, "X", "place")
    assert "more than it can hold" in text or "it is cut off at byte" in text


@pytest.mark.parametrize("method", ["read", "header", "place", "open"])
def test_a_name_that_is_not_there_is_missing(method, archive):
    assert refusal(archive({"X.npy": X}), "y", method) == " lacks y"


@pytest.mark.parametrize("twice", [False, True])
def test_what_is_no_archive_or_names_an_array_twice_is_refused_and_the_file_is_closed(twice, archive):
    path = archive({"X": b"1", "X.npy": X})
    if not twice:
        path.write_bytes(b"hello")
    stream = open(path, "rb")  # noqa: SIM115  the archive closes it
    with pytest.raises(FileError, match=rf"^t\.npz is not an .*\({'two arrays' if twice else 'File is not a zip'}"):
        Archive(stream, "t.npz")
    assert stream.closed


@pytest.mark.parametrize(("spare", "refused"), [(0, False), (-1, True)])
def test_an_array_may_have_exactly_the_most_bytes(spare, refused, archive):
    path, most = archive({"X.npy": X}), len(bytes_of(X)) + spare
    if refused:
        assert refusal(path, "X", max_bytes=most).startswith(": X takes 0.0 GB unpacked; at most 8 GB are read")
    else:
        with Archive(path, "t.npz") as file:
            assert file.read("X", max_bytes=most).tolist() == X.tolist()


def test_another_way_of_packing_than_those_of_numpy_is_refused(archive):
    path = archive({"X.npy": X}, zipfile.ZIP_BZIP2)
    assert refusal(path, "X").startswith("(it is packed by method 12, not as numpy does)")


def test_zeros_that_deflate_packs_a_thousand_to_one_are_read(archive):
    zeros = np.zeros(2_000_000)
    path = archive({"X.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert zeros.nbytes > 900 * path.stat().st_size
    with Archive(path, "t.npz") as file:
        assert file.read("X").shape == zeros.shape


def test_more_than_deflate_can_unpack_is_not_believed(archive):
    path = archive({"X.npy": X}, zipfile.ZIP_DEFLATED)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        (item,) = file.infolist()
    at = whole.rindex(struct.pack("<II", item.compress_size, item.file_size))
    whole[at + 4 : at + 8] = struct.pack("<I", 1100 * item.compress_size + 1)
    path.write_bytes(bytes(whole))
    claim = f"(it claims {1100 * item.compress_size + 1:,} bytes, more than it can hold)"
    assert refusal(path, "X").startswith(claim)


@pytest.mark.parametrize("more", [b"", b"\0" * 8])
def test_a_header_must_fit_the_size_of_its_array(more, archive):
    content = bytes_of(X)
    path = archive({"X.npy": content[:-4] + more})
    claim = f"(shape (3, 4) of float32 does not fit its {len(content) - 4 + len(more):,} bytes)"
    assert refusal(path, "X").startswith(claim)


def test_a_type_without_bytes_is_refused(archive):
    content = header_of("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,), }\n")
    assert refusal(archive({"X.npy": content}), "X").startswith("(shape (1000000000000,) of |S0 does not fit its ")


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", X=np.array([{}], dtype=object))
    assert refusal(tmp_path / "objects.npz", "X").startswith(": X holds Python objects")


def test_changed_bytes_do_not_match_their_checksum(archive):
    path = archive({"X.npy": X})
    whole = bytearray(path.read_bytes())
    whole[whole.index(X.tobytes())] ^= 1
    path.write_bytes(bytes(whole))
    assert "CRC" in refusal(path, "X")


@pytest.mark.parametrize("code", [0xD7FF, 0xE000, 0x10FFFF, 0xD800, 0xDFFF, 0x110000])
@pytest.mark.parametrize("order", ["<", ">"])
def test_text_that_holds_no_characters_is_refused(code, order, archive):
    content = bytes_of(np.array(["a"], dtype=f"{order}U1"))
    path = archive({"X.npy": content.replace(struct.pack(f"{order}I", ord("a")), struct.pack(f"{order}I", code))})
    if code in (0xD7FF, 0xE000, 0x10FFFF):
        with Archive(path, "t.npz") as file:
            assert file.read("X").tolist() == [chr(code)]
    else:
        assert refusal(path, "X").startswith("(its text holds numbers that are no characters)")


def header_of(text, version=(1, 0)):
    size = "<H" if version == (1, 0) else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(size, len(text)) + text.encode("latin1")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_header_is_read_up_to_its_end(version):
    content = header_of("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 5), }\n", version)
    header = read_header(io.BytesIO(content + b"rest"), "X")
    assert header == ((2, 5), True, np.dtype("<i2"), len(content))
    assert header.data_bytes == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            header_of("{'descr': '<i2', 'fortran_order': False, 'shape': (-1, 5), }\n"),
            "damaged (it has the shape",
        ),
        (header_of("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"), "X holds Python objects"),
        (header_of("{}", (3, 0)), "damaged (it has version 3.0 of numpy's format"),
        (b"no array at all", "magic string"),
        (header_of("{'descr': (((("), "X is cut off or damaged ("),
        (b"", "X is cut off or damaged ("),
    ],
)
def test_a_header_that_means_nothing_is_refused(content, message):
    with pytest.raises(FileError) as caught:
        read_header(io.BytesIO(content), "X")
    assert message in str(caught.value)
