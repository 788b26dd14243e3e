"""What one gate does with a record: its state, its step, its breaker, and what operators ask of it."""
