"""What a leaf says: a signed envelope (DSSE) with a statement (in-toto) about one decision, or about a key. Pure."""
