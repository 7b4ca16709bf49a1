"""Vector indexes: one file per family, all on Faiss."""
