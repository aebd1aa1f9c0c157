"""How the columns of a table were read, as doctor prints it before anything trains."""

from sfumato.cli.columns_shown import line_a_column
from tests.conftest import run_sfumato

TABLE = "nr;day;size;label\n" + "".join(
    f"{i};{10 + i % 20}.03.2024;{i % 7},{25 * (i % 2):02d};{'xy'[i % 2]}\n" for i in range(60)
)


def test_doctor_has_a_line_for_each_column_in_text_and_in_json(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    ran = run_sfumato("doctor", "t.csv", "--model", "linear", folder=tmp_path)
    assert ran.code == 0, ran.err
    read, _, warned = ran.out.partition("\n\ndata ")[0].partition("\n\nwarning       ")
    assert " ".join(warned.split()).startswith('"day" alone tells the label in 100.0 % of the rows that were tried')
    assert '"size" alone tells the label' in " ".join(warned.split())
    assert read.splitlines()[-5:] == [
        "column  read as  distinct  missing  note",
        "nr      id             60        0  left out: has another whole number in every row; --keep takes it in",
        "day     date           20        0  DD.MM.YYYY, counted in days",
        "size    number         14        0  decimal comma",
        "label   label           2        0",
    ]
    found = run_sfumato("doctor", "t.csv", "--drop", "day", "--model", "linear", "--json", folder=tmp_path).json()
    assert [(each["code"], each["column"]) for each in found["warnings"]] == [("leak", "size")]
    assert [(each["name"], each["read_as"]) for each in found["columns"]] == [
        ("nr", "id"), ("day", "left out"), ("size", "number"), ("label", "label"),
    ]  # fmt: skip


def test_a_reason_is_wrapped_beside_the_numbers_or_below_them():
    why = "left out: has another code in every row; --keep takes it in"
    columns = [{"name": "nr", "read_as": "id", "distinct": 60, "missing": 0, "note": why}]
    assert line_a_column(columns, 70).splitlines() == [
        "column  read as  distinct  missing  note",
        "nr      id             60        0  left out: has another code in",
        "                                    every row; --keep takes it in",
    ]
    assert line_a_column(columns, 50).splitlines()[1:] == [
        "nr      id             60        0  left out: has",
        "    another code in every row; --keep takes it in",
    ]
    assert line_a_column(columns).splitlines()[1].endswith(why)
