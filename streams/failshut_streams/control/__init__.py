"""The control topic: commands, policies, operators' keys; who writes it and who reads it."""
