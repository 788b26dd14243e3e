"""The demonstration: a monitor, three small services behind guards, and six kinds of trouble."""
