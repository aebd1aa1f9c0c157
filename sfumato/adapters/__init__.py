"""The loss in other libraries' training loops: one module per framework, each imported by its full name."""
