"""Dates as people write them: each style beside Python's own calendar, and what is no date."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.lab.data.dates import read_dates

EPOCH = datetime.datetime(1970, 1, 1)
STYLES = {
    "YYYY-MM-DD": ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%SZ"),
    "DD.MM.YYYY": ("%d.%m.%Y", "%d.%m.%Y %H:%M:%S"),
    "MM/DD/YYYY": ("%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p", "%m-%d-%Y %H:%M:%S"),
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
    found = read_dates(pa.array([text.rjust(len(texts[-1]), "0") for text in texts]))
    assert (found.style, found.ambiguous) == (style, False)
    exact = [(each - EPOCH) // datetime.timedelta(microseconds=1) / 86_400_000_000 for each in whole]
    assert found.days.tolist() == exact


def test_the_calendar_begins_with_the_year_1():
    assert read_dates(pa.array(["0001-01-01", "0001-01-02"])).days.tolist() == [-719162, -719161]
    assert np.isnan(read_dates(pa.array(["0000-12-31"])).days).all()


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "31.04.2024",
        "2024-13-01",
        "2024-00-10",
        "2024-01-31 24:00",
        "2024-01-31 12:60",
        "01/31/2024 13:00 PM",
        "2024-01-31 and more",
    ],
)
def test_a_day_or_a_time_that_there_is_not_is_no_date(text):
    assert np.isnan(read_dates(pa.array([text])).days).all()


@pytest.mark.parametrize("text", ["red", "12:30", "2024", "2024-01", "31.1.24", "1.2.3.2024"])
def test_a_text_of_another_form_is_no_date(text):
    assert read_dates(pa.array([text])) is None


def test_the_whole_column_says_which_is_the_day():
    first = ["01/02/2024", "03/04/2024"]
    assert read_dates(pa.array(first)).ambiguous
    assert read_dates(pa.array(["01/01/2024", "02/02/2024"])).ambiguous is False
    assert read_dates(pa.array(["01/01/2024", "02/02/2024", "soon"])).ambiguous is False
    assert read_dates(pa.array(["01/01/2024", "02/03/2024", "soon"])).ambiguous
    assert read_dates(pa.array([*first, "12/31/2024"])).days[0] == (datetime.datetime(2024, 1, 2) - EPOCH).days
    assert read_dates(pa.array([*first, "31/12/2024"])).days[0] == (datetime.datetime(2024, 2, 1) - EPOCH).days
