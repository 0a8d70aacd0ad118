"""Machines of a lab: namespaces with a file system, processes, a network and an sshd of their own."""
