"""Real servers that tests run against: ordinary processes on free ports of the loopback.

A `Server` is a process with data in a temporary folder, which a test may freeze, stop and start
again on the same data. Where its program is not installed, `missing` says so.
"""
