"""The bundle: every file that ships, a model card, and a script that verifies them on the machine where they run."""
