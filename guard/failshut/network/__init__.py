"""Addresses and TLS, the same for the store and for Kafka."""
