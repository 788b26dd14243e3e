"""The Merkle tree of RFC 6962, and the tiles in which it is kept. Pure: bytes in, bytes out."""
