"""Typed resources: what may be declared, read from manifests, stored, compared and exported."""
