"""From the logits of trained arms to a verdict: numbers with intervals, tests, and sentences. No torch here."""
