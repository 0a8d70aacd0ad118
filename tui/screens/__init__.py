"""The screens: the overview, and the help over it."""
