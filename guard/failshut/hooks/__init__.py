"""Gates in the frameworks that services have: one file each, which imports its framework. docs/hooks.md compares them."""
