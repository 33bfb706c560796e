"""Plan settings from a sample of the images, the machine and a time limit, each with its reason."""
