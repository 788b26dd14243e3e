"""What a policy says: its text, its conditions and detectors, its rules, and which readings feed them."""
