"""`python -m softgrad.cli`."""

from softgrad.cli import main

main()
