"""The interactive page of ``sfumato explain``: one file without network or libraries, readable without scripts."""

from sfumato.explain.page.render import MAX_CLASSES, page, write

__all__ = ["MAX_CLASSES", "page", "write"]
