"""Solutions of notebook 9. Each cell answers the exercise that its head names."""


# %% exercise-1
def chance_of_no_visit(n_features: int, n_codes: int) -> float:
    """Chance that none of `n_features` chooses a given code, each choosing one of `n_codes` at random."""
    return (1 - 1 / n_codes) ** n_features  # about exp(-M / K): 78 % for 256 features and 1024 codes


# %% exercise-2
# 0.99 (0.99 n + 0.01 c) + 0.01 c = 0.99^2 n + (1 - 0.99^2) c
decay_once = 0.99**2


# %% exercise-3
class Asleep(nn.Module):
    """Holds a network that stays in evaluation mode, whatever its parents do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.network(*inputs)

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def in_training(ones: torch.Tensor, p: float) -> tuple[torch.Tensor, torch.Tensor, bool] | None:
    """What Dropouts of rate `p` make of `ones` in a tree that trains: one asleep, one not. Keep it."""
    if "train" not in vars(Asleep):
        return None
    tree = nn.ModuleDict({"asleep": Asleep(nn.Dropout(p)), "awake": nn.Dropout(p)}).train()
    return tree["asleep"](ones), tree["awake"](ones), Asleep(nn.Identity()).train() is not None


# %% exercise-4
def places_read(n_pairs: int, has_cache: bool) -> int:
    """Places that Code-Transformer and Position-Transformer read together to draw `n_pairs` pairs."""
    if has_cache:
        return 2 * n_pairs
    return 2 * 2 * sum(range(1, n_pairs + 1))  # 2 N (N + 1): N + 1 times as many


# %% exercise-5
def highest_perplexity(n_features: int, n_codes: int) -> int:
    """No codes of `n_features` features, from a codebook of `n_codes`, have a perplexity above this."""
    return min(n_features, n_codes)  # reached when all codes that can be used are used alike
