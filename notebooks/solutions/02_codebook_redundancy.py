"""Solutions of notebook 2. Each cell answers the exercise that its head names."""


# %% exercise-1
def relative_nearest(codes: torch.Tensor) -> torch.Tensor:
    """Distance (K,) from each of `codes` (K, n_z) to the nearest other one, over the mean of all pairs."""
    distances = torch.cdist(codes, codes)
    n_pairs = len(codes) * (len(codes) - 1)
    mean = distances.sum() / n_pairs
    return distances.fill_diagonal_(torch.inf).min(dim=1).values / mean


# %% exercise-2
def rank_of(codes: torch.Tensor) -> torch.Tensor:
    """Effective rank () of the cloud of `codes` (K, n_z) about its centre."""
    spectrum = torch.linalg.svdvals(codes - codes.mean(dim=0))
    return torch.special.entr(spectrum / spectrum.sum()).sum().exp()


# %% exercise-3
median_threshold = near[plain].nanmedian()
share_of_masked = (near[masked][~near[masked].isnan()] < median_threshold).double().mean()


# %% exercise-4
def predict_cost(colours: torch.Tensor) -> torch.Tensor:
    """A number (B, L) that is high where a region is hard to infer; `colours` (B, L, 3) are mean colours."""
    return (colours - guess_from_neighbours(colours)).abs().sum(dim=2)


# %% exercise-5
def bits_of_image(n_kept: int, n_positions: int, perplexity: float) -> float:
    """Bits of `n_kept` codes of the given perplexity, and of their choice of places among `n_positions`."""
    import math

    return n_kept * math.log2(perplexity) + math.log2(math.comb(n_positions, n_kept))
