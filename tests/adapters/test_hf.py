"""The adapter for Hugging Face where transformers is not installed; tests/adapters/hf has the rest."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_without_transformers_the_import_says_what_to_type(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sfumato.adapters.hf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = "^sfumato.adapters.hf needs transformers; to install it, type: pip install transformers$"
    with pytest.raises(ImportError, match=told):
        importlib.import_module("sfumato.adapters.hf")
