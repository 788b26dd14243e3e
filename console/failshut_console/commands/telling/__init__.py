"""Commands that tell others what was decided: their signatures. notify/ carries them out."""
