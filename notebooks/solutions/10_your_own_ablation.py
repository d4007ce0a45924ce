"""Solutions of notebook 10. Each cell answers the exercise that its head names."""

# %% exercise-1
# 2 masks * 3 pairs * 3 seeds = 18, and one mask at one ratio, with its 3 seeds, is left out.
number_of_points = 15


# %% exercise-2
my_grid = """
axes:
  mask: [adaptive]
  mask_ratio: [0.25, 0.5, 0.75]
  quantizer.codebook_size: [64, 256]
seeds: [0, 1]
exclude: [{mask_ratio: 0.75, quantizer.codebook_size: 256}]
"""


# %% exercise-3
trust_stays = "demask.mask_update"
held_out_share = "data.validation_share"
restart_rule = "quantizer.restart"


# %% exercise-4
# The new seed: 2 masks * 3 ratios = 6. The old seeds: 2 masks at 0.75, which have other steps now: 2 * 2 = 4.
points_that_run = 10


# %% exercise-5
def paired(first: list[float], second: list[float]) -> dict[str, float]:
    """n, mean, low and high of how much larger `first` is than `second`, paired by seed."""
    return interval([one - other for one, other in zip(first, second, strict=True)])
