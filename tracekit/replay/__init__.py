"""Replay: the recorded arrivals through a model of the nodes and links; docs/replay.md defines the model."""
