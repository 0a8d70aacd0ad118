"""The commands, a module per noun; imported one by one when called."""
