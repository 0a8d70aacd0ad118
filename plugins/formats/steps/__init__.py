"""The steps that read and write formats."""
