"""A worker's log, for whoever is called at night: one line for each thing that happened."""
