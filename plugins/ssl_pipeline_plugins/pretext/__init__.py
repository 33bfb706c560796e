"""Pretext tasks: questions about images whose answers are known without labels."""
