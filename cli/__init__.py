"""The command ``usher``: one file for each group of commands."""
