"""Training: the pretraining loop, fine-tuning, checkpoints, and the monitoring of runs."""
