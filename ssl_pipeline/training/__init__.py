"""Training: the pretraining loop, fine-tuning, and what a run needs to survive."""
