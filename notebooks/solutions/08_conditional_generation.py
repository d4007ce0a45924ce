"""Solutions of notebook 8. Each cell answers the exercise that its head names."""


# %% exercise-1
def guide(told: torch.Tensor, not_told: torch.Tensor, s: float) -> torch.Tensor:
    """Logits (B, n): those of the model that is told nothing, plus s times what being told changes."""
    return not_told + s * (told - not_told)


# %% exercise-2
def standard_error(p: float, n: int) -> float:
    """Standard error of a share `p` of `n` images."""
    return math.sqrt(p * (1 - p) / n)


# %% exercise-3
saved_bits = bits.loc["nothing", "together"] - bits.loc["the right class", "together"]

# %% exercise-4
padding_mask = tokens != PAD

# %% exercise-5
# A guided image has a second sequence beside it that is told nothing.
rows_guided, rows_unguided = 2 * n_images, n_images
