"""A ledger on disk: files that anybody may serve, one writer, and a check of the whole. The only room that touches a disk."""
