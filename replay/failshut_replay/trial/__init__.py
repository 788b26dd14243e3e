"""A trial: what a gate would have done on a series that somebody has, before there is any monitor."""
