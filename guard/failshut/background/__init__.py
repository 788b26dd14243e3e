"""What works beside the callers: the table of slots, and threads for permits, pushes, keys and outcomes."""
