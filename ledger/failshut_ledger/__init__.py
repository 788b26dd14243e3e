"""The tamper-evident log of decisions, in the public formats of C2SP: tiles, checkpoints, proofs.

A third party checks it with its own tools and a public key alone. docs/ledger.md says how.
"""
