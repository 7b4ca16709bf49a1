"""Certificates: their files, what may be wrong with them, and the contexts made of them."""
