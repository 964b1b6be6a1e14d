"""The reference service. It shares a file format with Tracekit, and no code."""
