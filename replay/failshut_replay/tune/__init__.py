"""What may be tuned, the search for it, and what it leaves behind."""
