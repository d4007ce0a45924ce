"""What is measured of samples: distances between sets, memorisation, and who judges."""
