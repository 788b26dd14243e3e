"""Commands on recordings: their signatures. recordings/ carries them out."""
