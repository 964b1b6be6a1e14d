"""How far a simulated run is from the real one; docs/replay.md defines each figure."""
