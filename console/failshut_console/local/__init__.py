"""A monitor on this machine: its servers and workers, and its state folder."""
