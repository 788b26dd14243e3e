"""Commands on the ledger and on proofs: their signatures. The room ledger/ carries them out."""
