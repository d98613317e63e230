"""One HTML page about a student on a table of texts."""
