"""The method's own drawings: the street, the walk, masks, attention, sequences."""
