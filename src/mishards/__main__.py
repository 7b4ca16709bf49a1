"""`python -m mishards`: the same as the `mishards` command."""

from mishards.cli.main import main

main()
