"""Access keys: what they look like, what each allows, and the file that holds them."""
