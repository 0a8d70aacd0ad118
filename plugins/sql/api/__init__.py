"""The data API: a channel on a database that publishes declared queries, and nothing else of it."""
