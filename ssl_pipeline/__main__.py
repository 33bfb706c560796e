"""Run the command `ssl-pipeline` as `python -m ssl_pipeline`, for launchers that start modules."""

from importlib.metadata import entry_points

if __name__ == "__main__":
    (command,) = entry_points(group="console_scripts", name="ssl-pipeline")
    command.load()()
