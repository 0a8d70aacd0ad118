"""Services that are programs: started, given messages in one of two framings, watched, and ended in time."""
