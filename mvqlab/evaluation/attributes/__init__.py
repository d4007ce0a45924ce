"""Whether what was asked for was drawn."""
