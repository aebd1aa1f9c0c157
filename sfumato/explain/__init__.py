"""What a strength means: the closed forms as text, as JSON and as an interactive page."""
