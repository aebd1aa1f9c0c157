"""Dates as people write them: each style beside Python's own calendar, and what is no date."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.lab.data.columns import date_format, days_in

EPOCH = datetime.datetime(1970, 1, 1)
STYLES = {
    "YYYY-MM-DD": ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%SZ"),
    "DD.MM.YYYY": ("%d.%m.%Y", "%d.%m.%Y %H:%M:%S"),
    "MM/DD/YYYY": ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%m-%d-%Y %H:%M:%S"),
    "DD/MM/YYYY": ("%d/%m/%Y", "%d/%m/%Y %H:%M:%S"),
}
WRITTEN = [(style, form) for style, forms in STYLES.items() for form in forms]


@pytest.mark.parametrize(("style", "form"), WRITTEN, ids=[form for _, form in WRITTEN])
@given(moments=st.lists(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 12, 31)), max_size=20))
def test_a_date_of_every_style_counts_the_days_of_pythons_calendar(style, form, moments):
    moments = [*moments, datetime.datetime(2024, 2, 29, 23, 59, 59)]  # a day above 12 tells it from a month
    texts = [moment.strftime(form) for moment in moments]
    parts = (lambda each: each.replace(microsecond=0)) if "%f" not in form else (lambda each: each)
    whole = [parts(each) if "%M" in form else datetime.datetime.combine(each, datetime.time()) for each in moments]
    cells = pa.array([text.rjust(len(texts[-1]), "0") for text in texts])
    assert date_format(cells) == (style, False)
    exact = [(each - EPOCH) // datetime.timedelta(microseconds=1) / 86_400_000_000 for each in whole]
    assert days_in(cells, style).tolist() == exact


def read(*texts):
    """The days of texts in the form that most of them have."""
    cells = pa.array(texts)
    form, ambiguous = date_format(cells)
    return None if not form or ambiguous else days_in(cells, form)


def test_a_day_and_an_hour_may_lack_their_zero():
    assert read("31.1.2024 9:30", "1.12.2024 19:30").tolist() == [19753 + 9.5 / 24, 20058 + 19.5 / 24]


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "31.04.2024",
        "2024-13-01",
        "2024-00-10",
        "2024-01-31 24:00",
        "2024-01-31 12:60",
        "01/31/2024 01:00 PM",
        "2024-01-31 and more",
    ],
)
def test_a_day_or_a_time_that_does_not_exist_is_not_a_date(text):
    assert np.isnan(read(text, "2024-01-31" if text[4] == "-" else text)).tolist()[0]


@pytest.mark.parametrize("text", ["red", "12:30", "2024", "2024-01", "31.1.24", "1.2.3.2024"])
def test_a_text_of_another_form_is_not_a_date(text):
    assert read(text) is None


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["01/02/2024", "03/04/2024"], ("MM/DD/YYYY", True)),
        (["01/01/2024", "02/02/2024"], ("MM/DD/YYYY", False)),
        (["01/01/2024", "02/02/2024", "soon"], ("MM/DD/YYYY", False)),
        (["01/01/2024", "02/03/2024", "soon"], ("MM/DD/YYYY", True)),
        (["01/02/2024", "12/31/2024"], ("MM/DD/YYYY", False)),
        (["01/02/2024", "31/12/2024"], ("DD/MM/YYYY", False)),
    ],
)
def test_the_whole_column_decides_which_number_is_the_day(cells, found):
    assert date_format(pa.array(cells)) == found
