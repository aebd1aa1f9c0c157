"""The report page: one file that works offline, written beside its figures into the run folder.

The templates hold the words that are true of every comparison; whatever depends on the run is computed in
:mod:`~sfumato.report.compare.page_sentences`, and what a figure says is told by the numbers that it returns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sfumato.report import figure_to_svg
from sfumato.report.compare import plots
from sfumato.report.compare.last_layer import NoFeaturesError
from sfumato.report.compare.page_sentences import words
from sfumato.report.template import refuse_other_file, rendered, write
from sfumato.runs.read import Run, load_run

FIGURES: dict[str, Callable[[Run], Any]] = {
    "reliability": plots.plot_reliability,
    "reliability-temperature": partial(plots.plot_reliability, scaled=True),
    "gap": plots.plot_gap,
    "gap-histogram": plots.plot_gap_histogram,
    "projection": plots.plot_projection,
    "excess": plots.plot_excess,
    "ladder": plots.plot_ladder,
    "risk-coverage": plots.plot_risk_coverage,
    "temperature-sweep": plots.plot_temperature_sweep,
    "confusions": plots.plot_confusions,
}


@dataclass(frozen=True)
class Drawn:
    """One figure: its SVG file, its element of the page, and the record of its numbers that its function returned."""

    svg: str
    inline: Markup
    data: Any


def render(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write ``figures/*.svg`` and ``report.html`` into the folder of a finished comparison, and return the page's path.

    ``out`` is another file for the page; the folder is then left as it is. The same run gives the same bytes.

    Raises:
        ReportError: a file of the run is missing or broken, or ``out`` is there and no such page.
    """
    if out is not None:
        refuse_other_file(Path(out), "one run")
    run = load_run(folder)
    drawn, absent = draw(run)
    page = compose(run, drawn, absent)
    if out is not None:
        return write(Path(out), page)
    for name, figure in drawn.items():
        write(run.folder / "figures" / f"{name}.svg", figure.svg)
    return write(run.folder / "report.html", page)


@figure_to_svg.in_any_script()
def draw(run: Run) -> tuple[dict[str, Drawn], dict[str, str]]:
    """Every figure for which the run has data, by name; and by name why another is left out."""
    drawn: dict[str, Drawn] = {}
    absent: dict[str, str] = {}
    for name, plot in FIGURES.items():
        if name == "ladder" and not run.ladder:
            continue
        try:
            ax, data = plot(run)
        except NoFeaturesError as reason:
            absent[name] = str(reason)
            continue
        text = figure_to_svg.to_svg(ax)
        drawn[name] = Drawn(text, figure_to_svg.inline(text, name, data.alt), data)
    return drawn, absent


def compose(run: Run, drawn: Mapping[str, Drawn], absent: Mapping[str, str]) -> str:
    """The page as text, from what :func:`draw` gives; a section without its figure keeps its words."""
    inline = {name: figure.inline for name, figure in drawn.items()}
    data = {name: figure.data for name, figure in drawn.items()}
    told = words(run, data)
    return rendered(Path(__file__).parent, "page.html.jinja", **told, figures=inline, absent=absent)
