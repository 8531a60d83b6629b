"""Ways to run the functions."""
