"""Solutions of notebook 1. Each cell answers the exercise that its head names."""


# %% exercise-1
def nearest(features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Index (M,) of the row of `codes` (K, n_z) nearest to each of `features` (M, n_z)."""
    return (codes.square().sum(dim=1) - 2.0 * features @ codes.T).argmin(dim=1)


# %% exercise-2
def pass_through(features: torch.Tensor, quantised: torch.Tensor) -> torch.Tensor:
    """`quantised` in the forward pass; its gradient goes to `features` unchanged."""
    return features + (quantised - features).detach()


# %% exercise-3
# 0.99^t = 1/2, so t = log(1/2) / log(0.99): 69 steps.
half_life = 69


# %% exercise-4
def perplexity(counts: torch.Tensor) -> torch.Tensor:
    """Perplexity () of codes that were chosen `counts` (K,) times; codes may have a count of 0."""
    shares = counts / counts.sum()
    return torch.special.entr(shares).sum().exp()


# %% exercise-5
# The moving count of a code that is chosen B / K times a step tends to B / K, which must reach 1.
smallest_batch = codebook_size
