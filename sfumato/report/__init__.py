"""Tables, figures and one page from the folder of a finished comparison.

Nothing here imports torch: :func:`load_run` reads what ``sfumato compare`` wrote, :mod:`~sfumato.report.compare.tables`
and :mod:`~sfumato.report.compare.plots` turn it into text and figures, and :func:`render` puts both into
``report.html``.
"""

from sfumato.report.compare.changed_rows import rows_to_show as rows_to_show
from sfumato.report.compare.page import render as render
from sfumato.report.compare.tables import as_text as as_text
from sfumato.report.compare.tables import differences_table as differences_table
from sfumato.report.compare.tables import four_columns as four_columns
from sfumato.report.merged_page import render_merged as render_merged
from sfumato.runs.read import ReportError as ReportError
from sfumato.runs.read import Run as Run
from sfumato.runs.read import load_run as load_run
