"""One immutable segment: writing, opening, deletes and exact or indexed search."""
