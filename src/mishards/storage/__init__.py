"""Objects on shared storage: the log's entries, segments' files, delete files."""
