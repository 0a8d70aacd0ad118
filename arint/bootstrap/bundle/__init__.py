"""Bundles: everything that a machine with neither Python nor internet needs to become a node, in one archive."""
