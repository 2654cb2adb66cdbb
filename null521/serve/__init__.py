"""`null521 serve`: answers many connections in one process."""
