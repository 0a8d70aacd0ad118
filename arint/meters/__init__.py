"""Counting and timing for Prometheus: cheap where it is counted, written as text only when somebody asks."""
