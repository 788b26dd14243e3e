"""How brokers are reached, and what topics must be like."""
