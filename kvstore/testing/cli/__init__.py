"""``kv-sim``, the simulator as a command: stories and their pictures, checks over many seeds, every small graph."""
