"""Tables, figures and one page from the folder of a finished comparison.

Nothing here imports torch: :func:`load_run` reads what ``sfumato compare`` wrote, :mod:`~sfumato.report.tables` and
:mod:`~sfumato.report.plots` turn it into text and figures, and :func:`render` puts both into ``report.html``.
"""

from sfumato.report.changed import rows_to_show as rows_to_show
from sfumato.report.merged import render_merged as render_merged
from sfumato.report.page import render as render
from sfumato.report.run import ReportError as ReportError
from sfumato.report.run import Run as Run
from sfumato.report.run import load_run as load_run
from sfumato.report.tables import as_text as as_text
from sfumato.report.tables import differences_table as differences_table
from sfumato.report.tables import four_columns as four_columns
