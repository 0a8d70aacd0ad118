"""Content-addressed code."""
