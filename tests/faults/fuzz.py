"""Readers and mutated real files, in a process with little memory: run as a program, it prints what went wrong.

Whatever a file holds, a reader gives an answer or its own error, soon, in bounded memory, and runs nothing. A case is
known by the reader's name, a seed and a number: the same three make the same file.
"""

import contextlib
import fnmatch
import gzip
import io
import json
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save as safetensors_of

MARGIN = 2**30  # bytes of address space beyond what is in use when the first file is read
SECONDS = 20
FORBIDDEN = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"0x", b"true", b"null", b"1979-05-27", b"1979-05-27T07:32:00Z",
    b"[" * 3000, b"{" * 3000, b"[[" * 50, b'{"a":' * 2000, b"(" * 200, b'"', b"'", b'"""', b"\\", b"\\u0000", b"#",
    b"\0", b"\r", b"\n", b"\r\n", b"\t", b",", b";", b"=", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae",
    b"x" * 200_000, b'"' + b"y" * 70_000 + b'"', b"\x1b[2J", b"%s%n", b"../../../x", b"__import__('os').abort()",
)  # fmt: skip
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 3, 10**30, 0.5, float("nan"), float("inf"), "", "x", "../x", "\0", "\ud800", [], {},
    [[]], [None], {"mean": None}, [1, 2], {"a": {}}, "1e9", "<script>", 10**400, "x" * 100_000,
)  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few changes of a few kinds."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(9)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = bytes(rng.choice((1, 2, 7, 512)))
        elif kind == 3:
            del data[at : at + rng.choice((1, 4, 40, 400))]
        elif kind == 4:
            data[at:at] = data[at : at + rng.choice((1, 4, 40, 4000))]
        elif kind == 5:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 6:
            data[at : at + 4] = (rng.choice(NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")
        elif kind == 7:
            data[at : at + 8] = rng.choice(NUMBERS).to_bytes(8, "little")
        elif numbers := list(re.finditer(rb"\d+", bytes(data))):  # as in the shape that an array's header claims
            found = rng.choice(numbers)
            data[found.start() : found.end()] = str(rng.choice(NUMBERS)).encode()
        if not data:
            break
    return bytes(data)


def mutated_json(text: bytes, rng: random.Random) -> bytes:
    """Another value in a random place, or a key less."""
    value = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(value)
    for _ in range(rng.choice((1, 1, 2, 5))):
        node, key = rng.choice(places)
        if rng.random() < 0.2 and isinstance(node, dict):
            node.pop(key, None)
        elif key in node or isinstance(node, list):
            node[key] = rng.choice(VALUES)
    return json.dumps(value).encode("utf-8", "surrogatepass")


Case = tuple[Callable[[], object], tuple[type[BaseException], ...]]


def another_value(content: bytes, rng: random.Random) -> bytes:
    """A file of options, one of which has a value that is TOML and odd."""
    lines = content.splitlines()
    at = rng.randrange(1, len(lines))
    key = lines[at].split(b" = ")[0]
    odd = (b"true", b"nan", b"-inf", b"1e400", b"9" * 15, b"9" * 400, b"9" * 5000, b"[" * 3000, b"{a = 1}", b"[1, 2]")
    more = (b"1979-05-27", b"07:32:00", b"''", b'"\\u0000"', b'"\\n"', b'"x\\u202e"', b"-0.0", b"0x10")
    lines[at] = key + b" = " + rng.choice((*odd, *more))
    if rng.random() < 0.2:
        lines[at] = b'"' + rng.choice((b"\\n", b"\\u001b[2J", b"", b"eps.x", b"config", b"resume")) + b'" = 1'
    return b"\n".join(lines)


def repacked(content: bytes, rng: random.Random) -> bytes:
    """An archive whose checksums are right, around an array that was changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            if name == chosen:  # mostly its header, which is the first hundred bytes
                start, rest = (data[:128], data[128:]) if rng.random() < 0.7 else (data, b"")
                data = mutated(start, rng) + rest
            new.writestr(name, data)
    return buffer.getvalue()


def npz_files() -> list[bytes]:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    files: list[bytes] = []
    for save, x, labels in (
        (np.savez, rng.integers(0, 255, size=(60, 5, 5), dtype=np.uint8), y),
        (np.savez_compressed, rng.normal(size=(60, 4)), np.array(["ant", "bee", "cät"])[y]),
        (np.savez, np.asfortranarray(rng.normal(size=(60, 3)).astype(np.float32)), y.astype(np.float64)),
    ):
        files.append(saved(save, X=x, y=labels))
    return files


def csv_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    rows = [(f"{a:.6g}", f"{b:.3f}", k) for a, b, k in zip(*rng.normal(size=(2, 60)), ["ja", "nein"] * 30, strict=True)]
    plain = "größe,b,label\n" + "".join(f"{a},{b},{k}\n" for a, b, k in rows)
    quoted = '"a ""x""",b,label\r\n' + "".join(f'"{a}",{b},"{k}, oder"\r\n' for a, b, k in rows)
    tabs = "a\tb\ty\n" + "".join(f"{a}\t{b}\t{k}\n" for a, b, k in rows)
    packed = gzip.compress(plain.encode(), mtime=0)
    return {"t.csv": plain.encode(), "q.csv": quoted.encode(), "t.tsv": tabs.encode(), "t.csv.gz": packed}


def scores_files() -> dict[str, bytes]:
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
        "s.npz": saved(np.savez, logits=z, labels=y, features=z[:, :3]),
        "packed.npz": saved(np.savez_compressed, logits=z.astype(np.float16), labels=y),
        "p.npz": saved(np.savez, probs=p.astype(np.float64), labels=y),
        "s.safetensors": safetensors_of({"logits": tensors["logits"].bfloat16(), "labels": tensors["labels"]}),
        "s.pt": saved(torch.save, tensors),
        "s.csv": csv.encode(),
        "timm.csv": timm.encode(),
        "s.parquet": saved(pq.write_table, pa.table({name: z[:, k] for k, name in enumerate(names)} | {"label": y})),
        "list.parquet": saved(pq.write_table, pa.table({"index": order.tolist(), "prob": best})),
        "s.npy": saved(np.save, z),
    }


def saved(save: Callable[..., Any], *values: Any, **named: Any) -> bytes:
    """What a function writes into a file; the file is its first argument, or its second where that is the value."""
    buffer = io.BytesIO()
    save(*values, buffer) if save in (torch.save, pq.write_table) else save(buffer, *values, **named)
    return buffer.getvalue()


def npz(folder: Path, run: Path, rng: random.Random) -> Case:
    from sfumato.lab.data import DataError, prepare

    path = folder / "t.npz"
    content = rng.choice(NPZ)
    path.write_bytes(repacked(content, rng) if rng.random() < 0.6 else mutated(content, rng))
    return lambda: prepare(str(path)), (DataError,)


def csv(folder: Path, run: Path, rng: random.Random) -> Case:
    from sfumato.lab.data import DataError, prepare

    name = rng.choice(list(CSV))
    content = CSV[name]
    if name.endswith(".gz") and rng.random() < 0.5:
        content = gzip.compress(mutated(gzip.decompress(content), rng), mtime=0)
    else:
        content = mutated(content, rng)
    (folder / name).write_bytes(content)
    return lambda: prepare(str(folder / name)), (DataError,)


def toml(folder: Path, run: Path, rng: random.Random) -> Case:
    """A configuration, through the whole command line up to where the comparison would begin."""
    from sfumato.cli import main
    from sfumato.lab import compare

    path = folder / "c.toml"
    path.write_bytes(mutated(TOML, rng) if rng.random() < 0.5 else another_value(TOML, rng))

    class ReachedError(Exception):
        pass

    def reached(options: Any, **rest: Any) -> None:
        options.check()
        raise ReachedError

    def read() -> None:
        compare.compare = reached
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            code = main(["compare", "-c", str(path)])
        if code != 2 or not said.getvalue().startswith("sfumato: ") or said.getvalue().count("\n") != 1:
            raise AssertionError(f"code {code}: {said.getvalue()[:500]}")

    return read, (ReachedError,)


def changed_run(folder: Path, run: Path, rng: random.Random, path: str, *without: str) -> Path:
    """A copy of a whole run, one of whose files was changed."""
    copy = folder / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("figures", *without))
    content = (copy / path).read_bytes()
    json_too = path.endswith(".json") and rng.random() < 0.8
    (copy / path).write_bytes(mutated_json(content, rng) if json_too else mutated(content, rng))
    return copy


def run_folder(folder: Path, run: Path, rng: random.Random) -> Case:
    """A whole run as `--resume` prints it."""
    from sfumato.cli.compare import _told
    from sfumato.runs.read import ReportError, load_run

    without = ("weights", "*-train.npz", "*-validation.npz")
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix != ".html"]
    kept = [path for path in files if not any(part == "figures" or fnmatch.fnmatch(part, pattern)
            for part in path.relative_to(run).parts for pattern in without)]  # fmt: skip
    chosen = str(rng.choice(kept).relative_to(run))
    chosen = rng.choice(("summary.json", "env.json")) if rng.random() < 0.7 else chosen
    copy = changed_run(folder, run, rng, chosen, *without)

    def read() -> None:
        found = load_run(copy)
        _told({**found.summary, "run": str(copy)}, found.env.get("notes", []))

    return read, (ReportError,)


def model_folder(folder: Path, run: Path, rng: random.Random) -> Case:
    """A whole run whose model is asked for probabilities of new rows."""
    from sfumato.from_python.load_run import load_run
    from sfumato.lab.data import DataError
    from sfumato.lab.errors import OptionError
    from sfumato.runs.read import ReportError

    files = ("summary.json", "env.json", "encoding.json", "encoding.json", "weights/smoothed-seed0.safetensors")
    copy = changed_run(folder, run, rng, rng.choice(files), "*.npz")
    rows = [{"a": 0.5, "b": 1.0, "c": -1.0, "d": 2.0}, {"a": 0.0, "b": "1.5", "c": 1, "d": 0.0}][: rng.choice((1, 2))]

    def read() -> None:
        load_run(copy, arm="smoothed").predict_proba(rows)

    return read, (ReportError, OptionError, DataError)


def work_folder(folder: Path, run: Path, rng: random.Random) -> Case:
    """Work that was stopped, one of whose files was changed, up to where training would go on."""
    from sfumato.lab.arms import default_arms
    from sfumato.lab.data import Inputs
    from sfumato.lab.errors import OptionError
    from sfumato.lab.execute import RunTask
    from sfumato.lab.options import from_toml
    from sfumato.lab.resume import finished
    from sfumato.lab.train import Plan
    from sfumato.runs.folder import RunError, RunFolder, find

    copy = folder / "run.partial"
    shutil.copytree(run.with_name("stopped.partial"), copy)
    path = rng.choice([copy / "config.toml", *(copy / "work").iterdir(), copy / "logits" / "one-hot-seed0-test.npz"])
    content = path.read_bytes()
    path.write_bytes(mutated(content, rng))

    def read() -> None:
        final, _ = find(str(copy))
        work = RunFolder.reopen(final)
        work.close()
        text = (copy / "config.toml").read_text(encoding="utf-8")
        options = from_toml(text)
        for arm in default_arms(options.eps, options.over):
            finished(RunTask(arm, 0, options.model, 3, Plan(1, 1, 1e-3), copy, Inputs.dense(1)))

    def options_only() -> None:
        from_toml(rng.choice((mutated, another_value))(TOML, rng).decode("utf-8", "replace"))

    return (read, (RunError,)) if rng.random() < 0.7 else (options_only, (OptionError,))


def scores(folder: Path, run: Path, rng: random.Random) -> Case:
    """Scores of any kind, or labels, through the whole command line: a letter, or one line of what is wrong."""
    from sfumato.cli import main
    from sfumato.io import arrays

    name = rng.choice(list(SCORES))
    path, content = folder / name, SCORES[name]
    change = repacked if name.endswith(".npz") else mutated
    path.write_bytes((change if rng.random() < 0.6 else mutated)(content, rng))
    (folder / "labels.npz").write_bytes(LABELS)
    arrays.LARGE = rng.choice((1, 1 << 26))  # a matrix that stays in its file, or does not
    words = ["audit", str(path), "--out", str(folder / "out")]
    if rng.random() < 0.2:
        words = ["audit", str(folder / "labels.npz"), "--labels", str(path), "--out", str(folder / "out")]
    elif rng.random() < 0.2:
        words = ["audit", str(folder / "labels.npz"), "--against", str(path), "--out", str(folder / "out")]
    elif name in ("timm.csv", "list.parquet", "s.npy"):
        words += ["--labels", str(folder / "labels.npz")]

    def read() -> None:
        said, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
            code = main(words)
        whole = code == 0 and not said.getvalue()
        refused = code == 2 and said.getvalue().startswith("sfumato: ") and said.getvalue().count("\n") == 1
        if not whole and not (refused and not (folder / "out").exists()):
            raise AssertionError(f"{name}, {words[1:]}: code {code}: {said.getvalue()[:500]}")

    return read, ()


READERS: dict[str, Callable[[Path, Path, random.Random], Case]] = {
    each.__name__: each for each in (npz, csv, toml, run_folder, model_folder, work_folder, scores)
}
SCORES = scores_files()
LABELS = SCORES["s.npz"]
NPZ, CSV = npz_files(), csv_files()
TOML = b"""# options
data = "digits"  # command line
eps = 0.1
over = "others"
seeds = 5
model = "mlp"
epochs = 59
batch-size = 64
learning-rate = 0.001
label = "kind"
"""


def failures(name: str, run: Path, seed: int, count: int) -> Iterator[str]:
    """What went wrong, case by case."""
    forbidden: list[str] = []
    sys.addaudithook(lambda event, _: forbidden.append(event) if event in FORBIDDEN else None)

    def too_long(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, too_long)
    for number in range(-1, count):
        with tempfile.TemporaryDirectory() as scratch:
            read, allowed = READERS[name](Path(scratch), run, random.Random(f"{name} {seed} {number}"))
            if number == 0:  # the first one has loaded whatever is loaded once
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + MARGIN, resource.RLIM_INFINITY))
            signal.alarm(SECONDS)
            try:
                read()
            except allowed as error:
                if isinstance(error.__cause__, MemoryError):
                    yield f"{name} {seed} {number}: more than 1 GB: {error}"
            except BaseException:
                yield f"{name} {seed} {number}: {traceback.format_exc()}"
            finally:
                signal.alarm(0)
        if forbidden:
            yield f"{name} {seed} {number}: did what no reader may: {forbidden}"
            forbidden.clear()


if __name__ == "__main__":
    readers, folder, first, many = sys.argv[1:]
    found = [line for each in readers.split(",") for line in failures(each, Path(folder), int(first), int(many))]
    print("\n".join(found))
    sys.exit(bool(found))
