"""What an instance may use, and how it is held to it: by a cgroup of its own where permitted, else by rlimits."""
