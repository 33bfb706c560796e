"""Evaluation of the representation: probes, nearest neighbours, clusters and label budgets, with their baselines."""
