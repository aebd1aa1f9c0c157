"""Files of scores of every kind that an audit reads, to be mutated."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save


def files() -> dict[str, bytes]:
    """Contents by name: 40 rows of 5 classes, with labels where the kind holds them."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 5)).astype(np.float32) * 2, rng.integers(5, size=40)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    order = np.argsort(-p, axis=1)
    best = [p[i][order[i]].tolist() for i in range(40)]
    names = [f"logit_{k}" for k in range(5)]
    csv = ",".join([*names, "label"]) + "\n"
    csv += "".join(",".join(f"{x:.7g}" for x in row) + f",{k}\n" for row, k in zip(z, y, strict=True))
    timm = "filename,index,prob\n" + "".join(f'{i}.jpg,"{order[i].tolist()}","{best[i]}"\n' for i in range(40))
    tensors = {"logits": torch.from_numpy(z), "labels": torch.from_numpy(y)}
    return {
        "s.npz": _numpy(np.savez, logits=z, labels=y, features=z[:, :3]),
        "packed.npz": _numpy(np.savez_compressed, logits=z.astype(np.float16), labels=y),
        "p.npz": _numpy(np.savez, probs=p.astype(np.float64), labels=y),
        "s.safetensors": save({"logits": tensors["logits"].bfloat16(), "labels": tensors["labels"]}),
        "s.pt": _torch(tensors),
        "s.csv": csv.encode(),
        "timm.csv": timm.encode(),
        "s.parquet": _parquet({name: z[:, k] for k, name in enumerate(names)} | {"label": y}),
        "list.parquet": _parquet({"index": order.tolist(), "prob": best}),
        "s.npy": _numpy(np.save, z),
    }


def _numpy(save_: object, *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save_(buffer, *arrays, **named)
    return buffer.getvalue()


def _torch(tensors: dict[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _parquet(columns: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
