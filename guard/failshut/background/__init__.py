"""The parts of a guard that work in the background: the table of slots, and threads for permits, pushes, keys, outcomes."""
