"""The detectors, one method a file."""
