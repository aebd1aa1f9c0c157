"""The folder that a comparison leaves: its schema, how it is made whole or not at all, and how it is read back."""
