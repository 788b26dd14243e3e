"""The governor that runs live, over a recording: as it was, from the middle, or under another policy."""
