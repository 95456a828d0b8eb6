"""The report of a run: one HTML page with its media beside it, which opens from disk and asks no network."""
