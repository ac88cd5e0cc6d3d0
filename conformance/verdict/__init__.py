"""What is right: the oracle's expectations, the one comparator, verdicts, and the differences that are on file."""
