"""Solutions of notebook 5. Each cell answers the exercise that its head names."""

# %% exercise-1
# (1 - a) * 64 is 64, 57.6, 48, 32, 16 and 6.4.
regions_kept = [64, 58, 48, 32, 16, 6]
really_dropped = 58 / 64


# %% exercise-2
def bits_of_places(n_positions: int, n_pairs: int) -> float:
    """Bits that say which `n_pairs` of `n_positions` places are kept, if every choice is equally likely."""
    return math.log2(math.comb(n_positions, n_pairs))


# %% exercise-3
def paired_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Mean, low and high of the 95 % interval of `first` (n,) minus `second` (n,), seed by seed."""
    differences = first - second
    n = len(differences)
    half = student.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return differences.mean(), differences.mean() - half, differences.mean() + half


# %% exercise-4
def largest_ratio(runs: pd.DataFrame, mask: str, allowed: float) -> float:
    """The largest mask ratio of `mask` whose PSNR is on average less than `allowed` dB under unmasked."""
    unmasked = runs[(runs["mask"] == "adaptive") & (runs["mask_ratio"] == 0)].set_index("seed")["psnr"]
    mine = runs[runs["mask"] == mask]
    lost = (mine["seed"].map(unmasked) - mine["psnr"]).groupby(mine["mask_ratio"]).mean()
    return lost[lost < allowed].index.max()


# %% exercise-5
def threshold_for(scores: torch.Tensor, mask_ratio: float) -> float:
    """The score under which the share `mask_ratio` of all regions lies, over all images: scores (n, L)."""
    return torch.quantile(scores.flatten(), mask_ratio).item()


# %% exercise-6
means = rated.groupby(["mask", "mask_ratio"])[["code_bits", "rate_bits", "psnr"]].mean()
random_half_free_places = means.loc[("random", 0.5), "code_bits"]
learned_three_quarters = means.loc[("adaptive", 0.75), "rate_bits"]
# Fewer bits although its places are paid for, and more dB.
learned_is_cheaper_and_better = True
