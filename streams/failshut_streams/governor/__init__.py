"""The governor's agent: evidence in, decisions out, and what follows from them."""
