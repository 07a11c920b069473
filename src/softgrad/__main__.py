"""`python -m softgrad`: the command."""

from softgrad.cli import main

main()
