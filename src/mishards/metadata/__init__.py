"""What exists: databases, collections, partitions, indexes, segments, checkpoints, epochs."""
