"""Tables, figures and pages: of a comparison, of several, of a judgement and of an audit.

Nothing here imports torch: :func:`sfumato.runs.read.load_run` reads what ``sfumato compare`` wrote,
:mod:`~sfumato.report.tables` and :mod:`~sfumato.report.charts` turn it into text and figures, and
:func:`sfumato.report.compare_page.render` puts both into ``report.html``.
"""
