"""The hot paths, plain ASGI: forward auth and AuthZEN."""
