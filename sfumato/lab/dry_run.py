"""The dry run (``--dry-run``): what a comparison would run and cost, with nothing written."""

from __future__ import annotations

from sfumato.lab.cost_estimate import Cost, estimate
from sfumato.lab.options import Options
from sfumato.lab.prepared import prepared
from sfumato.lab.time_budget import in_time


def dry_run(options: Options) -> Cost:
    """Prepare a comparison, and count up what it would cost.

    Raises:
        OptionError, DataError: as :func:`sfumato.lab.compare.compare`.
    """
    options.check()
    return estimate(in_time(prepared(options)))
