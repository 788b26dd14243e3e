"""The commands of `failshut`, a file for each kind of question."""
