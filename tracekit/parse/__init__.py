"""From logs/<RUN_ID>/ to logs/<RUN_ID>/cctf/: read, check, account for every line, write, rename.

Nothing here reads a clock, an environment variable, a file's time or the host's name: the same raw
bytes give the same cctf, on any machine.
"""
