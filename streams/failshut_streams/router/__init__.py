"""The router: front-door chunks become runs of evidence."""
