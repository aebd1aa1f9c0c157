"""The example of docs/audit.md runs as it stands and prints what the page shows."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_example_with_annotators_prints_what_the_page_shows(capsys):
    found = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, flags=re.DOTALL)
    assert found is not None
    exec(found[1], {})
    assert capsys.readouterr().out == found[2]
