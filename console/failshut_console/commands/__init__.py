"""The commands of `failshut`, one verb a file."""
