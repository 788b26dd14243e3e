"""Who asks, and what the guard answers."""
