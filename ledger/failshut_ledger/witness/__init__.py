"""The witness protocol of C2SP, both sides, as pure functions: bytes and times in, values out."""
