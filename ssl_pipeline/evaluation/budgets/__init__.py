"""The label-budget study: what pretrained weights are worth when labels are few."""
