"""What others reach on the same machine, in the same run: each with its own packages, in an environment of its own."""
