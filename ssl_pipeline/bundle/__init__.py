"""The folder that is handed on: all that ships, what it is, and what proves it on the machine where it will run."""
