"""Several VMs as one: the plays of fleet/ run and heard, and hosts made on this machine."""
