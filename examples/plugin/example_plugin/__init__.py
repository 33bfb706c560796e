"""A source, a loss, a negative-sampling strategy and a pretext task for ssl-pipeline, one idea a file.

All names in params.yaml begin with the distribution's, so that nobody else's plugin has them.
"""
