"""Tables, figures and one page from the folder of a finished comparison, and the letter of an audit.

Nothing here imports torch: :func:`sfumato.runs.read.load_run` reads what ``sfumato compare`` wrote,
:mod:`~sfumato.report.tables` and :mod:`~sfumato.report.charts` turn it into text and figures, and
:func:`sfumato.report.compare_page.render` puts both into ``report.html``.
"""
