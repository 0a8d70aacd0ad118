"""Request/reply between the processes of one node: frames over Unix sockets, and who is asked. Nothing is stored."""
