"""`python -m failshut_console`: the command line without an entry point on PATH, as child processes call it."""

from failshut_console.main import main

main()
