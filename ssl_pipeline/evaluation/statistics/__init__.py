"""Intervals and tests of shares of images, of their differences, and of means over several chances at once."""
