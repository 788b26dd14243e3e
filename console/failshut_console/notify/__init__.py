"""What carries out `failshut notify`: who is told of closings and openings, and how far each was told."""
