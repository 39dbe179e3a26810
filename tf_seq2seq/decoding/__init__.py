"""Search: from a step function to hypotheses."""
