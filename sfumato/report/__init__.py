"""Tables, figures and one page from the folder of a finished comparison, and the letter of an audit.

Nothing here imports torch: :func:`sfumato.runs.read.load_run` reads what ``sfumato compare`` wrote,
:mod:`~sfumato.report.compare.tables` and :mod:`~sfumato.report.compare.plots` turn it into text and figures, and
:func:`sfumato.report.compare.page.render` puts both into ``report.html``.
"""
