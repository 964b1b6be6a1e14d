"""The reference service as a process or a container: start it, find it again, end it. Not its code: app/."""
