"""Collecting on one VM: the recorder and its collectors, the process sampler, and their control."""
