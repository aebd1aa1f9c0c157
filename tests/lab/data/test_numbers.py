"""Dense numbers are standardised by their training rows, and refused where that cannot be done in float32."""

import numpy as np
import pytest

from sfumato.lab.data import DataError, Numbers
from sfumato.lab.data.encoding import standardise

LARGEST = float(np.finfo(np.float32).max)


def made(values, **how):
    values = np.array(values, np.float64)
    return Numbers(values, tuple(f"c{j}" for j in range(values.shape[1])), (values.shape[1],), **how)


def test_mean_and_scale_are_those_of_the_training_rows_and_all_rows_are_encoded_by_them(monkeypatch):
    values = np.random.default_rng(0).normal([5, -1e3], [2, 1e-3], (13, 2))
    train, rows = np.array([7, 0, 3, 12, 5]), np.array([12, 1, 1, 6, 2, 9, 0])
    expected = ((values[rows] - values[train].mean(0)) / values[train].std(0)).astype(np.float32)
    for most in (1, 3, 7, 2**16):
        monkeypatch.setattr("sfumato.lab.data.encoding._CHUNK", most)
        found = made(values).fit(train, "made").encode(rows)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)


def test_a_column_that_is_constant_in_training_is_only_moved():
    encoder = made([[0.1, 1], [0.1, 3], [0.1, 5], [7.1, 3]]).fit(np.arange(3), "made")
    assert encoder.encode(np.arange(4))[:, 0].tolist() == [0, 0, 0, 7]


def test_numbers_of_a_picture_are_standardised_by_all_pixels():
    values = np.arange(24.0).reshape(4, 6)
    features = Numbers(values, tuple("abcdef"), (2, 3), image=True)
    encoder = features.fit(np.arange(2), "made")
    pixels = values[:2]
    assert np.array_equal(encoder.encode(np.arange(4)), ((values - pixels.mean()) / pixels.std()).astype(np.float32))
    assert (encoder.inputs.shape, encoder.inputs.picture) == ((6,), (2, 3))
    assert encoder.learned == {
        "features": "numbers",
        "shape": [2, 3],
        "mean": [pixels.mean()],
        "scale": [pixels.std()],
    }
    assert features.raw_columns() == ()


def test_columns_are_given_as_they_were_read_and_kept_with_how_they_were_written():
    features = made([[1, 2], [3, 6], [5, 7]], written=(",", ""))
    assert [(column.name, column.kind, column.values.tolist()) for column in features.raw_columns()] == [
        ("c0", "number", [1, 3, 5]),
        ("c1", "number", [2, 6, 7]),
    ]
    encoder = features.fit(np.array([0, 1]), "made")
    assert (encoder.inputs.shape, encoder.inputs.picture) == ((2,), ())
    fixed = {"kind": "number", "median": None, "flagged": False, "seasons": False}
    assert encoder.learned == {
        "features": "columns",
        "columns": [
            {"name": "c0", "written": ",", "mean": 2, "scale": 1, **fixed},
            {"name": "c1", "written": "", "mean": 4, "scale": 2, **fixed},
        ],
    }


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("image", [False, True])
def test_a_row_may_lie_as_far_from_training_as_float32_reaches_and_no_further(sign, image):
    names = ("c0",)
    fits = np.array([[-1.0], [1.0], [sign * LARGEST]])  # mean 0 and scale 1
    mean, scale = standardise("made", fits, np.arange(2), names, image=image)
    assert (mean.tolist(), scale.tolist()) == ([0], [1])
    assert np.isfinite((fits / scale).astype(np.float32)).all()
    beyond = np.array([[-1.0], [1.0], [sign * np.nextafter(LARGEST, np.inf)]])
    with pytest.raises(DataError, match="cannot be standardised"):
        standardise("made", beyond, np.arange(2), names, image=image)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([[0, 0], [1, 1e200], [2, -1e200]], 'column "c1" cannot be standardised, with values from -1e+200 to 1e+200'),
        ([[0, 0], [1, 1.7e308], [2, 1.7e308]], 'column "c1" cannot be standardised, with values from 0 to 1.7e+308'),
        ([[0, 0], [0, 5e-324], [1, 0]], 'column "c1" cannot be standardised, with values from 0 to 4.94e-324'),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_column_whose_spread_is_no_number_is_named(values, told):
    with pytest.raises(DataError) as refused:
        made(values).fit(np.arange(3), "made")
    assert str(refused.value) == f"made: {told}; look for outliers, or rescale"


def test_how_far_a_row_lies_is_counted_from_the_mean_in_units_of_the_scale():
    for train, far in (([-2, 2], 2 * LARGEST), ([3e38, 3e38], 3.4e38), ([-3e38, -3e38], -3.4e38)):
        values = np.array([*train, far], np.float64)[:, None]
        standardise("made", values, np.arange(2), ("c0",))
    for train, far in (([-0.5, 0.5], LARGEST), ([3e38, 3e38], -3.4e38)):
        values = np.array([*train, far], np.float64)[:, None]
        with pytest.raises(DataError, match='column "c0" cannot be standardised'):
            standardise("made", values, np.arange(2), ("c0",))


def test_pixels_too_far_apart_are_refused_as_a_whole():
    features = Numbers(np.array([[0.0, 1.0], [2.0, 1e300]]), ("a", "b"), (1, 2), image=True)
    with pytest.raises(DataError) as refused:
        features.fit(np.arange(1), "made")
    assert str(refused.value) == (
        "made: the pixel values cannot be standardised, with values from 0 to 1e+300; look for outliers, or rescale"
    )
