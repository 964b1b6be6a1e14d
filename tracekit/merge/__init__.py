"""From the cctf directories of N nodes to one: checked, merged in order, renamed into place.

What comes out depends on the inputs' bytes alone: not on the order in which they are named, nor on where they
stand. Memory is a block of lines an input, whatever the length.
"""
