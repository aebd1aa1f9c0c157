from collections.abc import Callable
from typing import Any

import pytest

from sfumato.lab.data import DataError


def refused(function: Callable[..., Any], *given: Any, **named: Any) -> str:
    """What a function says when it refuses what it is given."""
    with pytest.raises(DataError) as caught:
        function(*given, **named)
    return str(caught.value)
