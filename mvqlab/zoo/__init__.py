"""Models by name: those that come with mvqlab, loading them, drawing with them."""
