"""The loss in other people's training loops: one module a framework, each imported by its full name."""
