"""What is documented by OpenAPI: gates, permits, health, keys, metrics."""
