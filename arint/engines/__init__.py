"""The programs that the agent supervises: found, configured, started, watched."""
