"""The process sampler: which processes are meant, what they use, how they end."""
