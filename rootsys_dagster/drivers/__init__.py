"""One module per source system, its configuration beside it."""
