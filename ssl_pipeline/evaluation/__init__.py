"""What the representation is worth: probes, neighbours, label budgets, and what they are compared with."""
