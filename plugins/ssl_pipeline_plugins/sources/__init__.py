"""Where images come from. These modules import nothing heavy: the inventory loads them at the start of each run."""
