"""A running monitor, seen from outside: its gates, its log, commands to it."""
