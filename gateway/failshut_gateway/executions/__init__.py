"""Executions over HTTP: begun, watched by a stream that ends with the closing, and ended with an outcome."""
