"""What is said of a gate, as values: decisions, permits and closings, probe tokens."""
