"""Pure decisions: where instances run, and how a new version replaces the old. No I/O, no clock of its own."""
