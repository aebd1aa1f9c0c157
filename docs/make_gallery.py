"""Run the files of ``examples/`` and write the gallery from them: ``make gallery``.

    python docs/make_gallery.py [NAME…]

Each example gets a page in ``docs/gallery/`` with its text, its code, what it printed and the figures that it saved.
A notebook keeps its outputs too. An example runs in an empty folder and a process of its own, on one thread, so that
what it prints does not depend on the number of cores. ``make docs`` reads the pages and runs nothing.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
EXAMPLES, PAGES = DOCS.parent / "examples", DOCS / "gallery"

ORDER = (
    "pictures_in_folders",
    "text_with_trainer",
    "judge_two_models",
    "audit_scikit_learn",
    "distil_top_k",
    "annotators",
    "fused_head",
    "note_figures",
)
"""The examples as the front page of the gallery lists them: those that decide first, then those that train."""

ALT = {
    "audit_scikit_learn-reliability.svg": "How often the forest is right at each confidence. As it is, its points lie "
    "above the diagonal: it is right more often than it says. Divided by its temperature, they lie near the diagonal.",
    "note_figures-1.png": "Logit gap against gradient steps on a logarithmic axis, 10 classes: one-hot grows without "
    "end, and 0.1 over the 9 others stops at 4.394 nats.",
    "note_figures-2.png": "Gap at the optimum against strength, for 2 and 10 classes and both conventions: all fall "
    "from infinity, over all to 0 at ε = 1, over the others through 0 at (K−1)/K.",
}
"""What each figure shows, for those who cannot see it."""

HEAD = """\
# Gallery

<!-- Written by docs/make_gallery.py from examples/: change those, and run `make gallery`. -->

Each page is one small script that answers one question: its code, and what it printed. Every script runs as it stands,
on data that come with scikit-learn, in less than half a minute on two cores.
"""


def environment() -> dict[str, str]:
    """What an example finds: one thread, no screen and no network that transformers would ask."""
    fixed = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1", "SOURCE_DATE_EPOCH": "0"}
    return {**os.environ, **fixed, "PYTHONIOENCODING": "utf-8"}


def run(name: str, folder: Path) -> str:
    """What a script prints, run in a folder; its figures stay there."""
    (folder / "matplotlibrc").write_text("svg.hashsalt: sfumato\n", encoding="utf-8")
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    if os.name == "posix":  # a peak of memory counts that of whoever starts the process: a shell has little
        command = ["/bin/sh", "-c", '"$@"; exit', "sh", *command]
    ran = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", check=False)
    if ran.returncode != 0:
        raise SystemExit(f"examples/{name}.py ended with {ran.returncode}:\n{ran.stderr}")
    return ran.stdout


def run_notebook(name: str, folder: Path) -> dict[str, Any]:
    """A notebook with the outputs of a fresh run."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    os.environ.update(environment())
    del os.environ["MPLBACKEND"]  # a notebook shows its figures
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # of times
    return notebook


def page_of_script(name: str, printed: str, figures: list[str]) -> str:
    """The page of a script that printed this and saved these figures."""
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    title, text = (ast.get_docstring(ast.parse(source)) or "").split("\n", 1)
    code = source.split('"""', 2)[2].strip("\n")
    drawn = "".join(f"\n![{ALT[figure]}]({figure})\n" for figure in figures)
    return (
        f"# {title}\n\n{_written(f'{name}.py')}\n{text.strip()}\n\n```python\n{code}\n```\n\n"
        f"## What it prints\n\n```text\n{printed.rstrip()}\n```\n{drawn}\n{_take(f'{name}.py')}"
    )


def page_of_notebook(name: str, notebook: dict[str, Any]) -> str:
    """The page of a notebook, from its own outputs."""
    parts, figures = [], 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.replace("](../docs/", "](../"))
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif "image/png" in output.get("data", {}):
                figures += 1
                parts.append(f"![{ALT[f'{name}-{figures}.png']}]({name}-{figures}.png)")
    title, *rest = "\n\n".join(parts).split("\n\n")
    return "\n\n".join([title, _written(f"{name}.ipynb").rstrip(), *rest, _take(f"{name}.ipynb")])


def _written(file: str) -> str:
    return f"<!-- Written by docs/make_gallery.py from examples/{file}: change that, and run `make gallery`. -->\n"


def _take(file: str) -> str:
    return f"Take it along: [{file}](../../examples/{file}).\n"


def images(notebook: dict[str, Any]) -> list[bytes]:
    """The figures of a notebook, as PNG."""
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    shown = ["".join(each["data"]["image/png"]) for each in outputs if "image/png" in each.get("data", {})]
    return [base64.b64decode(each) for each in shown]


def printed_on(page: str) -> str:
    """What a page says that its script printed."""
    return page.split("## What it prints\n\n```text\n")[1].split("\n```\n")[0]


def page() -> str:
    """The first page of the gallery: the question of each page, as that page asks it, and what it is answered with."""
    pages = {name: (PAGES / f"{name}.md").read_text(encoding="utf-8") for name in ORDER}
    titles = {name: text.split("\n")[0][2:] for name, text in pages.items()}
    rows = "".join(f"| [{titles[name]}](gallery/{name}.md) | {_uses(text)} |\n" for name, text in pages.items())
    tree = "".join(f"gallery/{name}\n" for name in ORDER)
    return f"{HEAD}\n| question | uses |\n| --- | --- |\n{rows}\n```{{toctree}}\n:hidden:\n{tree}```\n"


def _uses(text: str) -> str:
    """The names of sfumato in the code of a page, without those that most pages have."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    imported = [
        name for names in re.findall(r"^from sfumato\S* import (.*)$", code, re.MULTILINE) for name in names.split(", ")
    ]
    found = dict.fromkeys([*imported, *re.findall(r"\bsf\.[\w.]+", code)])
    return ", ".join(f"`{name}`" for name in found if name not in ("sf.cross_entropy", "sf.one_hot"))


def make(name: str) -> None:
    """Run one example and write its page and its figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if (EXAMPLES / f"{name}.ipynb").exists():
            notebook = run_notebook(name, folder)
            kept = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
            (EXAMPLES / f"{name}.ipynb").write_text(f"{kept}\n", encoding="utf-8")
            for number, image in enumerate(images(notebook), 1):
                (PAGES / f"{name}-{number}.png").write_bytes(image)
            text = page_of_notebook(name, notebook)
        else:
            printed = run(name, folder)
            figures = {f"{name}-{path.name}": path for path in sorted(folder.glob("*.svg"))}
            for figure, path in figures.items():
                (PAGES / figure).write_bytes(path.read_bytes())
            text = page_of_script(name, printed, list(figures))
    (PAGES / f"{name}.md").write_text(text, encoding="utf-8")


def main(names: list[str]) -> None:
    """Write the pages of these examples, or of all."""
    if unknown := [name for name in names if name not in ORDER]:
        raise SystemExit(f'"{unknown[0]}" is no example. Examples: {", ".join(ORDER)}')
    PAGES.mkdir(exist_ok=True)
    for name in names or ORDER:
        print(f"running examples/{name}", flush=True)
        make(name)
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main([re.sub(r".*/|\.\w+$", "", word) for word in sys.argv[1:]])
