"""The console (ARWADM): one live overview of a cluster, in the terminal. It reads, and changes nothing."""
