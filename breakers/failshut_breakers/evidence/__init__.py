"""What counts: records of the evidence log, readings in them, and how far they are complete."""
