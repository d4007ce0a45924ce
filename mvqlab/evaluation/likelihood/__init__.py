"""What transformers know: bits, causality, chance."""
