"""A plugin of each kind for ssl-pipeline, one idea per file.

All names in params.yaml begin with the distribution's, so that nobody else's plugin has them.
"""
