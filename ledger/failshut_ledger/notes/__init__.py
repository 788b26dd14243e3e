"""Texts that keys have signed: notes, checkpoints, cosignatures, proofs, trust policies. Pure."""
