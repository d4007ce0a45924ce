"""How many seconds of training until pictures are good: recipes beside each other, in one run.

    mvqlab bench quality --seconds 900 --data fashion32 --set stage1.learning_rate=2e-3

Each way trains both stages from nothing. While the clock stands, held-out images are reconstructed (stage 1),
or samples are drawn class by class, unfiltered, and judged (stage 2). Ways:

    recipe     the preset as it is, with what is `--set`
    shapes32   the small VQGAN backbone and the settings of the preset shapes32, on the same data
    peer       vector-quantize-pytorch's VectorQuantize and transformers' GPT-2 (see `bench.peer`)

A way that has used up its seconds is stopped where it is: stage 1 after half of them, stage 2 after all.
Rates that fall by a cosine have then not come to their end: give enough seconds for the recipe's own steps.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from mvqlab.bench.peer import STEPS as PEER_STEPS
from mvqlab.bench.peer import PeerTransformer, train_peer_stage1, train_peer_stage2
from mvqlab.bench.timing import machine
from mvqlab.config import Config, load_config
from mvqlab.data import Splits, batches_in_order, build_splits
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.attributes.class_asked_for import drawing_with
from mvqlab.evaluation.images.reconstruction import image_scores
from mvqlab.evaluation.samples.class_judge import ClassJudge, class_judge
from mvqlab.models.pair_model import PairModel
from mvqlab.results.table_files import beside_others, check_has_columns, write_csv
from mvqlab.sampling import sample_images
from mvqlab.training import train_stage1, train_stage2
from mvqlab.training.launch import make_fabric
from mvqlab.training.loop import OnModel

PRESETS = ("fashion32", "simple32")
GUIDANCE = (1.0, 2.0)
CLASS_MARKS = (0.5, 0.75, 0.9)  # of the judge's share on real images
PSNR_MARKS = (18.0, 20.0, 22.0, 24.0, 26.0, 28.0)  # dB
SECONDS = 900.0  # of training, for each way
LOOKS = 30  # evaluations of a way, at most
WAY = ["data", "way"]  # the columns that say whose a row is
N_SAMPLES, N_HELD_OUT = 400, 256

Model = TypeVar("Model", bound=nn.Module)


class TimeIsUpError(Exception):
    """A stage has used up its seconds."""


class Clock:
    """Seconds of training: it stands while something is evaluated."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Do not count what is done inside."""
        at = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - at


class Watch:
    """Looks at a way's models while the clock stands, and stops a stage that has used up its seconds."""

    def __init__(self, seconds: float, looks: int, note: Callable[[dict[str, object]], None]) -> None:
        self.clock, self.limit, self.every, self.note = Clock(), seconds, seconds / looks, note
        self._last = 0.0

    def stage(
        self,
        number: int,
        steps: int,
        train: Callable[[OnModel], Model],
        look: Callable[[Any], Mapping[str, float]],
    ) -> Model:
        """What `train` trains, looked at about every `every` seconds and after the last step."""
        limit = self.limit if number == 2 else self.limit / 2
        seen: list[Any] = []

        def on_model(step: int, model: nn.Module) -> None:
            seconds = self.clock.seconds
            seen[:] = [model]
            is_over = seconds >= limit
            if is_over or step == steps or seconds - self._last >= self.every:
                with self.clock.standing(), torch.no_grad(), torch.random.fork_rng(devices=[]):
                    self.note({"stage": number, "seconds": seconds, "step": step, **look(model)})
                self._last = seconds
            if is_over:
                raise TimeIsUpError

        try:
            return train(on_model)
        except TimeIsUpError:
            return seen[0].eval()


class Way(NamedTuple):
    """One way to learn from `splits`: its settings, and what trains both stages under a `Watch`."""

    name: str
    config: Config
    run: Callable[[Config, Splits, Watch, ClassJudge, int], None]


def ways(preset: str, overrides: Sequence[str] = ()) -> list[Way]:
    """All ways on the data of `preset`. Raises ConfigError for settings that do not exist."""
    recipe = load_config(preset, overrides)
    plain = load_config("shapes32", ["transformer.condition=class"])
    older = plain.model_copy(update={"data": recipe.data})
    found = [Way("recipe", recipe, run_ours), Way("shapes32", older, run_ours)]
    if find_spec("transformers") is None or find_spec("vector_quantize_pytorch") is None:
        print("  (the peer's packages are not installed: pip install 'mvqlab[bench]')")
        return found
    return [*found, Way("peer", recipe, run_peer)]


def run_ours(config: Config, splits: Splits, watch: Watch, judge: ClassJudge, n_samples: int) -> None:
    """Train MQ-VAE and its transformer as `config` says."""
    options = {"checkpoint_every": 0, "validate_every": 0}
    config = config.model_copy(
        update={
            "stage1": config.stage1.model_copy(update=options),
            "stage2": config.stage2.model_copy(update=options),
            "evaluation": config.evaluation.model_copy(update={"images": 64}),  # its time is the way's
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        stage1 = watch.stage(
            1,
            config.stage1.steps,
            lambda on_model: train_stage1(config, Path(folder) / "1", on_model=on_model, splits=splits),
            lambda model: {"psnr": held_out_psnr(lambda images: model(images).images, splits)},
        )

        def look(model: PairModel) -> dict[str, float]:
            def draw(labels: Tensor, weight: float) -> Tensor:
                return sample_images(model, stage1, drawing_with(config, weight, len(labels)), labels).images

            return class_right(draw, splits.n_classes, n_samples, judge)

        watch.stage(
            2,
            config.stage2.steps,
            lambda on_model: train_stage2(
                config, stage1, Path(folder) / "2", on_model=on_model, splits=splits
            ),
            look,
        )


def run_peer(config: Config, splits: Splits, watch: Watch, judge: ClassJudge, n_samples: int) -> None:
    """Train the peer's autoencoder and GPT-2 on its codes."""
    stage1 = watch.stage(
        1,
        PEER_STEPS,
        lambda on_model: train_peer_stage1(splits, config.seed, on_model),
        lambda model: {"psnr": held_out_psnr(lambda images: model(images)[0], splits)},
    )

    def look(model: PeerTransformer) -> dict[str, float]:
        def draw(labels: Tensor, weight: float) -> Tensor:
            chunks = [stage1.decode(model.draw(chunk, weight)) for chunk in labels.split(100)]
            return torch.cat(chunks)

        torch.manual_seed(config.seed)  # `generate` draws from torch's own generator
        return class_right(draw, splits.n_classes, n_samples, judge)

    watch.stage(
        2,
        config.stage2.steps,
        lambda on_model: train_peer_stage2(config, stage1, splits, on_model),
        look,
    )


def held_out_psnr(restore: Callable[[Tensor], Tensor], splits: Splits) -> float:
    """Mean PSNR in dB over the first held-out images, as `restore` gives them back."""
    values = []
    for batch in batches_in_order(splits.validation, 64, N_HELD_OUT):
        real, made = to_uint8(batch.images), to_uint8(restore(batch.images), "reconstructions")
        values.append(image_scores(real, made, None, with_ssim=False)["psnr"].double())
    return float(torch.cat(values).mean())


def class_right(
    draw: Callable[[Tensor, float], Tensor], n_classes: int, n_samples: int, judge: ClassJudge
) -> dict[str, float]:
    """Shares of samples that show their class at each of `GUIDANCE`, with their intervals, by column."""
    labels = torch.arange(n_samples) % n_classes
    columns: dict[str, float] = {}
    for weight in GUIDANCE:
        share = judge.right(draw(labels, weight), labels)
        name = f"class_right_{judge.column}_at_{weight:g}"
        columns |= {name: share.share, f"{name}_low": share.low, f"{name}_high": share.high}
    return columns


def seconds_to_marks(table: pd.DataFrame) -> pd.DataFrame:
    """Of each way when it was first seen at each mark, NaN where it never was: data, way, mark, seconds.

    Marks are PSNR in dB, and shares of the judge's own share on real images, at guidance 1 and at the best.
    `table` is what `main` writes.
    """
    rows = []
    for (data, way), group in table.groupby(WAY, sort=False):
        for mark in PSNR_MARKS:
            seconds = _first(group, group["psnr"] >= mark)
            rows.append({"data": data, "way": way, "mark": f"{mark:g} dB", "seconds": seconds})
        shares = _shares(group)
        for name, share in (("guidance 1", shares.iloc[:, 0]), ("best guidance", shares.max(axis=1))):
            for mark in CLASS_MARKS:
                seconds = _first(group, share >= mark * group["real_share"])
                words = f"{mark:.0%} of real, {name}"
                rows.append({"data": data, "way": way, "mark": words, "seconds": seconds})
    return pd.DataFrame(rows)


def _shares(group: pd.DataFrame) -> pd.DataFrame:
    """The columns of shares of one data set, a column a weight of guidance."""
    names = [name for name in group if "_at_" in name and not name.endswith(("_low", "_high"))]
    own = [name for name in names if group[name].notna().any()]
    if own:
        return group[own]
    return pd.DataFrame({"none": float("nan")}, index=group.index)


def _first(group: pd.DataFrame, is_reached: pd.Series) -> float:
    return float(group["seconds"][is_reached].min())


def main(
    presets: Sequence[str] = PRESETS,
    overrides: Sequence[str] = (),
    seconds: float = SECONDS,
    only: Sequence[str] = (),
    folder: Path = Path("results/bench"),
    n_samples: int = N_SAMPLES,
    looks: int = LOOKS,
) -> pd.DataFrame:
    """Run all ways (or `only` some) on the data of `presets`; write rows as they come, and print the marks.

    Under `folder`: quality.csv, a row an evaluation; quality_marks.csv, see `seconds_to_marks`. Rows there
    of other ways, or of other data, stay. Raises ConfigError, DataError; QualityError for a way that does
    not exist, and where a GPU would be used; TableError where an earlier quality.csv cannot be read.
    """
    if torch.cuda.is_available():
        raise QualityError(
            "ways are compared on the CPU, and some of them would train on the GPU that is here: hide it by "
            "an empty CUDA_VISIBLE_DEVICES"
        )
    path = Path(folder) / "quality.csv"
    check_has_columns(path, WAY)
    rows: list[dict[str, object]] = []
    _import_first()
    for preset in presets:
        chosen = _chosen(ways(preset, overrides), only)
        judge = class_judge(chosen[0].config.data)
        print(f"{preset}: {judge.name}", flush=True)
        for way in chosen:
            print(f"  {way.name}: at most {seconds:.0f} s of training", flush=True)
            told = {
                "data": preset,
                "way": way.name,
                "real_share": judge.on_real.share,
                "set": " ".join(overrides) if way.name == "recipe" else "",
                **machine(torch.device("cpu")),
            }
            splits = build_splits(way.config.data)  # anew: what one way has drawn is not there for another
            watch = Watch(seconds, looks, _noter(rows, told, path))
            way.run(way.config, splits, watch, judge, n_samples)
    table = pd.DataFrame(rows)
    marks = seconds_to_marks(beside_others(table, path, WAY))
    write_csv(marks, path.with_name("quality_marks.csv"))
    shown = marks.set_index(["data", "mark", "way"])["seconds"].unstack("way", sort=False)
    print(shown.to_string(float_format="%.0f", na_rep="-"))
    print(f"written to {path}")
    return table


def _import_first() -> None:
    """Import what trainings import when they start: tens of seconds on a busy machine, of the first."""
    make_fabric()
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    for package in ("transformers", "vector_quantize_pytorch"):
        if find_spec(package) is not None:
            import_module(package)


class QualityError(ValueError):
    """There is no way of that name, or no fair comparison here. The message says what to do."""


def _chosen(found: Sequence[Way], only: Sequence[str]) -> list[Way]:
    names = [way.name for way in found]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise QualityError(f"there is no way '{', '.join(unknown)}': there are {', '.join(names)}")
    return [way for way in found if not only or way.name in only]


def _noter(
    rows: list[dict[str, object]], told: Mapping[str, object], path: Path
) -> Callable[[dict[str, object]], None]:
    """What adds a row to `rows`, prints what is new in it, and writes all to `path`, beside others' rows."""

    def note(row: dict[str, object]) -> None:
        rows.append({**told, **row})
        shown = {key: value for key, value in row.items() if not key.endswith(("_low", "_high"))}
        print("    " + ", ".join(_words(key, value) for key, value in shown.items()), flush=True)
        write_csv(beside_others(pd.DataFrame(rows), path, WAY), path)

    return note


def _words(key: str, value: object) -> str:
    return f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
