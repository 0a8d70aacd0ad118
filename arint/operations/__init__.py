"""What an administrator can do, a module per noun; arguments, results and progress are plain data.

The command line and the console call these and nothing beneath them.
"""
