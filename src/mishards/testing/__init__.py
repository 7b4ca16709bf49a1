"""The public test kit: clock, faults, clusters, and the contract suites of plugins."""
