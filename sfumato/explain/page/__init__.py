"""The interactive page of ``sfumato explain``: one file, no network, no library, and its numbers without script too."""

from sfumato.explain.page.render import MAX_CLASSES, page, write

__all__ = ["MAX_CLASSES", "page", "write"]
