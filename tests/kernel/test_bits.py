"""The kernel's bits are those that were written down, type by type and instruction set by instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.golden.make_loss_bits import OUT, TYPES, digests, family

SAID = json.loads(OUT.read_text(encoding="utf-8"))
X86 = ("baseline", "avx2", "avx512")
ARM = ("neon",)


@pytest.fixture(autouse=True)
def kernel():
    status = needs.kernel()
    assert status.isa in X86 + ARM
    return status


@pytest.mark.parametrize("name", TYPES)
def test_losses_and_gradients_have_the_bits_written_down(name):
    assert digests(name) == SAID[family()][name]


@pytest.mark.parametrize("isa", X86)
def test_every_instruction_set_of_this_machine_has_its_own(isa, kernel):
    if kernel.isa in ARM or X86.index(isa) > X86.index(kernel.isa):
        pytest.skip(f"this machine has no {isa}")
    code = (
        "import json; from sfumato.kernel import job; from tests.golden.make_loss_bits import TYPES, digests, family; "
        f"assert job.status().isa == '{isa}'; print(json.dumps([family(), {{n: digests(n) for n in TYPES}}]))"
    )
    root = Path(__file__).parents[2]
    env = {
        **os.environ,
        "SFUMATO_ISA": isa,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    out = subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=root, capture_output=True, text=True)
    found, bits = json.loads(out.stdout)
    assert bits == SAID[found]
