"""From the logits of arms to a verdict: numbers with intervals, tests, findings, and sentences. No torch here."""
