"""The operator's surfaces: the command line `failshut`, its live view and the demonstration."""
