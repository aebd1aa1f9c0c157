"""A matplotlib figure as SVG: the same bytes for the same figure, with text as text.

The inline form follows the page: colours become CSS variables, identifiers get a prefix so that figures do not clash,
and nothing refers to anything outside.
"""

import io
import re
import warnings

from markupsafe import Markup, escape

from sfumato.report.charts.style import ARM_COLOURS, FAINT, INK, PAPER, RULE, Axes, Chart

VARIABLES = {
    **{PAPER: "var(--paper)", INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)"},
    **{colour: f"var(--arm-{i})" for i, colour in enumerate(ARM_COLOURS)},
}

# Text keeps clear of the lines behind it by an outline in the colour of the paper.
HALO = "<style>text{paint-order:stroke;stroke:%s;stroke-width:2.5px;stroke-linejoin:round}</style>"


def to_svg(ax: Axes) -> str:
    """The whole figure of an axis as the text of an SVG file, without date, version or random identifiers."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axis belongs to no figure any more")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sfumato"}), warnings.catch_warnings():
        # the reader's fonts show the letters that matplotlib's own lacks
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        layout = figure.get_layout_engine()
        if layout is not None and any(each.child_axes for each in figure.axes):
            layout.execute(figure)  # drawing lays out once more, and sees axes in axes from its second pass on
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", buffer.getvalue())
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: system-ui, sans-serif", text)
    return re.sub(r"(<svg [^>]*>)", lambda opening: opening[1] + HALO % PAPER, text, count=1)


def inline(svg: str, name: str, alt: str) -> Markup:
    """An SVG file from :func:`to_svg` as one ``<svg role="img">`` element in the colours of the page.

    ``name`` becomes the prefix of its identifiers (letters and hyphens), and ``alt`` tells the figure in words.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    opening = body[: body.index(">") + 1]
    box = re.search(r'viewBox="([^"]*)"', opening)
    body = _smaller(body[len(opening) :])
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = body.replace(" font-family: system-ui, sans-serif;", "")
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    view = box[1] if box else "0 0 360 252"
    return Markup(f'<svg role="img" aria-label="{escape(alt)}" viewBox="{view}">') + Markup(body.strip())


def figure(chart: Chart, name: str) -> Markup:
    """A chart as an element of a page."""
    return inline(to_svg(chart.ax), name, chart.alt)


def _smaller(body: str) -> str:
    """The same drawing in fewer bytes: coordinates to a hundredth of a point, one style for a run of markers."""
    coordinates = re.compile(r' (?:d|x|y)="[^"]*"')
    body = coordinates.sub(lambda text: re.sub(r"-?\d+\.\d{3,}", _shorter, text[0]).replace(" \n", " "), body)
    return re.sub(
        r'<use [^>]*? style="([^"]*)"/>(?:\s*<use [^>]*? style="\1"/>)+',
        lambda uses: f'<g style="{uses[1]}">' + uses[0].replace(f' style="{uses[1]}"', "") + "</g>",
        body,
    )


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
