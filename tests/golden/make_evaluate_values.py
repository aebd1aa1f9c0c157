"""What ``sfumato.evaluate`` says of the samples in ``tests/evaluate/samples.py``: writes evaluate_values.json.

    python tests/golden/make_evaluate_values.py

Run it when a result is meant to change, read the difference, and tell it in CHANGELOG.md under "Numerics". These values
are sfumato's own: whether they are right is for the other tests, which know definitions and other libraries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

from tests.evaluate.samples import everything, flat

OUT = Path(__file__).with_name("evaluate_values.json")


def main() -> None:
    told = {name: flat(say()) for name, say in everything().items()}
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in told.items())
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
