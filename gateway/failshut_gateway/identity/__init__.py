"""Who asks, proven: tokens of configured issuers, and client certificates."""
