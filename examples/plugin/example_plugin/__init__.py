"""A plugin of each kind for ssl-pipeline, one idea per file.

All names in params.yaml begin with the name of the distribution, so that they do not clash with other plugins.
"""
