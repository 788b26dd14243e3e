"""Requests and replies as ASGI has them: headers, paths, bounded bodies."""
