"""The pipeline's stages: one thin command each, `python -m stages.<name>`. dvc.yaml says in which order they run."""
