"""What is measured of codebooks: use, redundancy, neighbours."""
