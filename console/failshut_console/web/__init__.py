"""The web console: gates, their decisions, proofs and health as pages, served by the gateway."""
