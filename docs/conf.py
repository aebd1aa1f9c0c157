"""The site that ``make docs`` builds into ``site/``: these pages, and the interface from its docstrings.

Nothing is loaded from elsewhere: formulas are MathML, and the search is Sphinx's own, which works from a folder.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import sfumato
from sfumato import adapters
from sfumato.explain import page

os.environ.setdefault("KERAS_BACKEND", "torch")  # keras looks for tensorflow otherwise

project, author, copyright = "sfumato", "The sfumato developers", "The sfumato developers"
version = release = sfumato.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**/*.py"]
html_theme = "furo"
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_title = f"sfumato {version}"
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures of docs/design.md are read; those with every type in them are not
napoleon_use_ivar = True


def setup(app: Sphinx) -> None:
    """What Sphinx calls: formulas as MathML, the interface's lists, and links out of the site."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _read)
    app.connect("include-read", _included)
    app.connect("html-page-context", _language)
    app.connect("autodoc-skip-member", _unsaid)
    app.connect("build-finished", _explain)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    text, _, number = node.astext().partition(r"\tag")
    formula = convert(text, display="block")
    beside = f"<span>({number.strip(' {}')})</span>" if number else ""
    translator.body.append(
        '<div style="display: flex; align-items: center; overflow-x: auto; padding: 0.4em 0">'
        f'<div style="margin: auto">{formula}</div>{beside}</div>'
    )
    raise nodes.SkipNode


html_math_renderer = "mathml"


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the lists of public names where docs/api.md asks for them, and let links to the root's pages stay here."""
    if docname == "api":
        source[0] = re.sub(r"^INTERFACE$", lambda _: "\n".join(_interface()), source[0], flags=re.M)
    source[0] = re.sub(r"\]\(\.\./([A-Z]+)\.md", lambda name: f"]({name[1].lower()}.md", source[0])
    source[0] = re.sub(r"\n\n```$", "\n```", source[0], flags=re.M)  # the empty line that ends an example of doctest


def _included(app: Sphinx, path: Path, docname: str, source: list[str]) -> None:
    """Links of the root's pages, as they are seen from docs/."""
    source[0] = re.sub(r"\]\(docs/", "](", source[0])
    source[0] = re.sub(r"\]\(([A-Z]+)\.md", lambda name: f"]({name[1].lower()}.md", source[0])


def _language(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Say which language a page is in: a browser chooses the shapes of characters by it, a screen reader its voice."""
    if pagename.endswith(".zh"):
        context["language"] = "zh-Hans"


def _unsaid(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, which its class tells and Python calls "Alias for field number 0"."""
    return True if str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None


def _interface() -> list[str]:
    """A list of each public module, the names of ``sf`` itself first and the adapters last."""
    public = {name: getattr(sfumato, name) for name in dir(sfumato) if not name.startswith("_")}
    modules = {name: value for name, value in public.items() if inspect.ismodule(value)}
    lines = _listed("sf", sfumato, [name for name in public if name not in modules])
    for each in pkgutil.iter_modules(adapters.__path__):
        if not each.name.startswith("_"):
            modules[f"adapters.{each.name}"] = importlib.import_module(f"sfumato.adapters.{each.name}")
    for name, module in modules.items():
        own = [each for each, value in vars(module).items() if not each.startswith("_") and _own(module, value)]
        lines += _listed(f"sfumato.{name}", module, own)
    return lines


def _listed(title: str, module: ModuleType, names: list[str]) -> list[str]:
    lines = ["", f"## {title}", "", "```{eval-rst}"]
    if module is not sfumato:
        lines += [f".. module:: {module.__name__}", "", *(inspect.getdoc(module) or "").splitlines(), ""]
    for each in names:
        kind = "class" if inspect.isclass(getattr(module, each)) else "function"
        lines += [f".. auto{kind}:: {module.__name__}.{each}", *(_MEMBERS if kind == "class" else []), ""]
    return [*lines, "```"]


_MEMBERS = ("   :members:", "   :exclude-members: set_fit_request, set_score_request")  # the latter are scikit-learn's


def _own(module: ModuleType, value: Any) -> bool:
    """Whether a function or class is of that module or of a file in it, and not imported from elsewhere."""
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith(module.__name__)


def _explain(app: Sphinx, error: Exception | None) -> None:
    """The page that explains label smoothing, beside the others."""
    if error is None and app.builder.format == "html":
        page.write(Path(app.outdir) / "label-smoothing.html", 10, 0.1)
