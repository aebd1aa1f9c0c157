"""The audit as a letter and as a page."""

from sfumato.report.audit.letter import as_letter as as_letter
from sfumato.report.audit.letter import differences_table as differences_table
from sfumato.report.audit.letter import numbers_table as numbers_table
from sfumato.report.audit.letter import render_audit as render_audit
from sfumato.report.audit.letter import write as write
