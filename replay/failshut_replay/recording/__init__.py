"""The recording format: written whole or not at all, verified as it is read."""
