"""From a sample of the images, the machine and a number of hours to settings, each with its reason."""
