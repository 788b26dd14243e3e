"""The store as the monitor writes it: the one room here that does I/O."""
