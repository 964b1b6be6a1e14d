"""A run while it is recorded, at a glance: the last seconds of its raw files.

Reads the ends of the raw files alone, so a look costs the same after a day as after a minute.
"""
