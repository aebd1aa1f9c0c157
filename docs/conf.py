"""The site that ``make docs`` builds into ``site/``: these pages, and the interface from its docstrings.

Nothing is loaded from elsewhere: formulas are MathML, and the search is Sphinx's own, which works from a folder.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import sfumato
from sfumato.explain import page

os.environ.setdefault("KERAS_BACKEND", "torch")  # keras looks for tensorflow otherwise

project, author, copyright = "sfumato", "The sfumato developers", "The sfumato developers"
version = release = sfumato.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**/*.py"]
html_theme = "furo"
html_title = f"sfumato {version}"
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures of docs/design.md are read; those with every type in them are not
napoleon_use_ivar = True

MODULES = (
    "theory",
    "reference",
    "conventions",
    "evaluate",
    "probe",
    "parallel",
    "adapters.hf",
    "adapters.sklearn",
    "adapters.boosting",
    "adapters.lightning",
    "adapters.timm",
    "adapters.keras",
    "adapters.jax",
)
"""What has a list of its own in the interface, after the names of ``sf``."""


def setup(app: Sphinx) -> None:
    """What Sphinx calls: formulas as MathML, the interface's lists, and links out of the site."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _read)
    app.connect("include-read", _included)
    app.connect("build-finished", _explain)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    formula = convert(_aligned(node.astext()), display="block")
    translator.body.append(f'<div style="overflow-x: auto; padding: 0.4em 0">{formula}</div>')
    raise nodes.SkipNode


def _aligned(formula: str) -> str:
    """A formula whose lines are told apart as Sphinx tells them, as one array."""
    if r"\\" in formula and r"\begin" not in formula:
        return rf"\begin{{aligned}}{formula}\end{{aligned}}"
    return formula


html_math_renderer = "mathml"


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the lists of public names where docs/api.md asks for them, and let links to the root's pages stay here."""
    if docname == "api":
        source[0] = re.sub(r"^INTERFACE$", lambda _: "\n".join(_interface()), source[0], flags=re.M)
    source[0] = re.sub(r"\]\(\.\./([A-Z]+)\.md", lambda name: f"]({name[1].lower()}.md", source[0])


def _included(app: Sphinx, path: Path, docname: str, source: list[str]) -> None:
    """Links of the root's pages, as they are seen from docs/."""
    source[0] = re.sub(r"\]\(docs/", "](", source[0])
    source[0] = re.sub(r"\]\(([A-Z]+)\.md", lambda name: f"]({name[1].lower()}.md", source[0])


def _interface() -> list[str]:
    lines: list[str] = []
    for name in ("", *MODULES):
        module = importlib.import_module(f"sfumato.{name}".rstrip("."))
        lines += ["", f"## {'sf' if not name else module.__name__}", "", "```{eval-rst}"]
        if name:
            lines += [f".. module:: {module.__name__}", "", *(inspect.getdoc(module) or "").splitlines(), ""]
        for each in _public(module):
            value = getattr(module, each)
            kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
            lines += [f".. auto{kind}:: {module.__name__}.{each}", *(_MEMBERS if kind == "class" else []), ""]
        lines += ["```"]
    return lines


_MEMBERS = ("   :members:", "   :exclude-members: set_fit_request, set_score_request")  # the latter are scikit-learn's


def _public(module: Any) -> list[str]:
    """The public functions, classes and tables of a module, in the order of its list or of the file."""
    if module is sfumato:
        return [name for name in dir(sfumato) if not inspect.ismodule(getattr(sfumato, name)) and name[0] != "_"]
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if _own(module, value)]
    return [name for name in names if not name.startswith("_")]


def _own(module: Any, value: Any) -> bool:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    return value.__module__.startswith(module.__name__)


def _explain(app: Sphinx, error: Exception | None) -> None:
    """The page that explains label smoothing, beside the others."""
    if error is None and app.builder.format == "html":
        page.write(Path(app.outdir) / "label-smoothing.html", 10, 0.1)
