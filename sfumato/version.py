"""The version, in a module of its own: what it is written into must not import the whole package."""

__version__ = "0.2.0"
