"""Who is admitted: the checks on a permit, names and patterns, results that would run later."""
