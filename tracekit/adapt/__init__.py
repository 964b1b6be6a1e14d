"""What the programs in tools/adapters/ share: input of any shape, ids, an account of each line, order.

A format itself is known by its adapter alone.
"""
