"""Failshut's guard: admits an execution only while a signed, unexpired permit for its gate is at hand."""
