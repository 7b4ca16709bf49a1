"""The `mishards` command: one file per subcommand."""
