"""What the monitor itself puts at the front door: time marks, lag, outcomes of guards."""
