"""The kernel's bits on the golden rows: writes loss_bits.json, a digest a type, for the instruction set at hand.

    [SFUMATO_ISA=baseline] python tests/golden/make_loss_bits.py

Instruction sets with fused multiply-add share their bits ("fma"); "baseline" has others. Run it with both when bits are
meant to change, and tell it in CHANGELOG.md under "Numerics".
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

import torch

import sfumato as sf
from sfumato.kernel import job
from tests.golden.make_mpmath_rows import FILE, logits_of

OUT = Path(__file__).with_name("loss_bits.json")
TYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
LONGEST = 1000  # classes: the longer rows of the file take most of its time and another loop of nothing


def family() -> str:
    """Which bits this machine's instruction set gives."""
    return "baseline" if job.status().isa == "baseline" else "fma"


def digests(name: str) -> dict[str, str]:
    """SHA-256 over losses and over gradients, and the first three losses for a reader, in hexadecimal."""
    losses, gradients, first = hashlib.sha256(), hashlib.sha256(), list[str]()
    for row in map(json.loads, FILE.read_text(encoding="utf-8").splitlines()):
        if row["k"] > LONGEST:
            continue
        z = torch.from_numpy(logits_of(row)).unsqueeze(0).to(TYPES[name]).requires_grad_()
        target = sf.smooth(torch.tensor([row["label"]]), row["k"], row["eps"], over=row["over"])
        loss = sf.cross_entropy(z, target, reduction="sum", out_dtype=torch.float64 if name == "float64" else None)
        (gradient,) = torch.autograd.grad(loss, z)
        packed = struct.pack("<d", loss.item())
        losses.update(packed)
        gradients.update(gradient.view(torch.uint8).numpy().tobytes())
        if len(first) < 3:
            first.append(loss.item().hex())
    return {"losses": losses.hexdigest(), "gradients": gradients.hexdigest(), "first": " ".join(first)}


def main() -> None:
    told = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    told[family()] = {name: digests(name) for name in TYPES}
    OUT.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
