"""The built-in methods, one idea per file. They use the same hooks as everybody's plugins, and get no favours."""
