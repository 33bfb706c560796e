"""The code that a result depends on: the modules that a stage reaches, and the plugins that its run uses."""
