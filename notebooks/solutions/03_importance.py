"""Solutions of notebook 3. Each cell answers the exercise that its head names."""


# %% exercise-1
def regions_to_keep(mask_ratio: float, n_positions: int) -> int:
    """N, of `n_positions` regions, if the share `mask_ratio` of them is dropped; at least one."""
    return max(1, round((1.0 - mask_ratio) * n_positions))


# %% exercise-2
def keep(scores: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (B, n) of the `n` best of `scores` (B, L), rising, and a mask (B, L), True where kept."""
    positions = scores.topk(n, dim=1).indices.sort(dim=1).values
    return positions, torch.zeros_like(scores, dtype=torch.bool).scatter(1, positions, True)


# %% exercise-3
auc_of_random = 0.5  # of two random scores, each is the higher one in half of all cases
auc_upside_down = 1.0 - learned_auc


# %% exercise-4
def score_gradient(upstream: torch.Tensor, unweighed: torch.Tensor) -> torch.Tensor:
    """Gradient (B, N) of kept scores: `upstream` (B, N, n_z) is dL/dz^, `unweighed` (B, N, n_z) is u."""
    return (upstream * unweighed).sum(dim=2)


# %% exercise-5
def weigh_without_shrinking(kept: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Kept features (B, N, n_z), unchanged in value; scores (B, N) get the gradient of the product."""
    return kept * (1.0 + scores - scores.detach()).unsqueeze(-1)


# %% exercise-6
n_for_iou_1 = 8
best_iou_at_32 = 8 / 32
chance_iou_at_32 = expected_random_iou(32, 8, 64)  # 4 hits of 8: about 4 / (32 + 8 - 4)
