"""Solutions of notebook 0. Each cell answers the exercise that its head names."""

# %% exercise-1
# A tenth of 32 * 32 = 1,024 regions is kept: 102.4, rounded.
pairs_of_large_image = 102


# %% exercise-2
def bits(n_pairs: int, n_places: int, codebook_size: int) -> float:
    """Bits that `n_pairs` codes and their places on a grid of `n_places` take."""
    return n_pairs * math.log2(codebook_size) + math.log2(math.comb(n_places, n_pairs))


# %% exercise-3
def moved_down(positions: torch.Tensor, side: int) -> torch.Tensor:
    """The places (..., N) one row further down on a grid of side * side, the last row moving to the top."""
    return (positions + side) % side**2
