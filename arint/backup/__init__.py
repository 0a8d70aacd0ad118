"""Backups: what is in an archive, how it is written and read. No engine is asked here."""
