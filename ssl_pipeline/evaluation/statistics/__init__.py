"""Confidence intervals and tests for shares of images, their differences, and means with several sources of chance."""
