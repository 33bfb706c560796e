"""Sources of images. These modules import nothing heavy, because the inventory loads them at the start of each run."""
