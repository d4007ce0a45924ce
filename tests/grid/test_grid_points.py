"""Grid files and their points: what they expand to, and that every fault is found before anything runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from grid_files import NOTEBOOKS, TOY, read_points, write_grid
from hypothesis import given
from hypothesis import strategies as st

from mvqlab.config import loading as config
from mvqlab.config import parse_override
from mvqlab.data import fashion_files
from mvqlab.grid.needs import check_needs
from mvqlab.grid.point_settings import as_override
from mvqlab.grid.points import build_points
from mvqlab.grid.spec import GridError, read_grid

ABLATIONS = Path(__file__).parents[2] / "ablations"
NOTEBOOK = ABLATIONS.parent / "notebooks" / "ablation_point.ipynb"


def fault(folder: Path, **entries: Any) -> str:
    """The message that a grid file with `entries` is refused with."""
    with pytest.raises(GridError) as caught:
        read_points(folder, **entries)
    return str(caught.value)


def test_axes_give_every_combination_once_per_seed(tmp_path):
    _, points = read_points(tmp_path, axes={"ratio": [0.25, 0.5], "how": ["well", "badly"]}, seeds=[3, 5])

    found = [
        (point.parameters["ratio"], point.parameters["how"], point.parameters["seed"]) for point in points
    ]
    assert found == [(r, how, seed) for r in (0.25, 0.5) for how in ("well", "badly") for seed in (3, 5)]
    assert points[3].label == "ratio=0.25, how=badly, seed=5"
    assert [point.index for point in points] == list(range(8))


def test_names_joined_by_a_comma_move_together(tmp_path):
    _, points = read_points(tmp_path, axes={"ratio, steps": [[0.25, 2], [0.5, 7]], "flag": [True, False]})

    found = [(point.parameters["ratio"], point.parameters["steps"]) for point in points]
    assert found == [(0.25, 2), (0.25, 2), (0.5, 7), (0.5, 7)]


def test_points_go_before_base_and_are_crossed_with_axes(tmp_path):
    points = [{"label": "first", "ratio": 0.75}, {"label": "second"}]
    _, built = read_points(tmp_path, base={"ratio": 0.25, "steps": 2}, points=points, axes={"how": ["well"]})

    assert [point.label for point in built] == ["first, how=well", "second, how=well"]
    assert [point.parameters for point in built] == [
        {"ratio": 0.75, "steps": 2, "how": "well"},
        {"ratio": 0.25, "steps": 2, "how": "well"},
    ]
    assert built[0].settings["flag"] is False, "defaults of the notebook belong into the table"


def test_excluded_points_are_left_out_and_the_rest_renumbered(tmp_path):
    axes = {"ratio": [0.25, 0.5], "how": ["well", "badly"]}
    _, points = read_points(tmp_path, axes=axes, exclude=[{"ratio": 0.25, "how": "badly"}])

    assert [point.label for point in points] == [
        "ratio=0.25, how=well",
        "ratio=0.5, how=well",
        "ratio=0.5, how=badly",
    ]
    assert [point.index for point in points] == [0, 1, 2]


def test_settings_reach_the_notebook_as_overrides_and_the_table_by_name(tmp_path):
    _, points = read_points(tmp_path, axes={"demask.layers": [3, 5]}, base={"overrides": ["seed=4"]})

    assert points[1].parameters == {"overrides": ["seed=4", "demask.layers=5"]}
    assert points[1].settings["demask.layers"] == 5


def test_a_setting_is_given_once(tmp_path):
    twice = {"overrides": ["seed=4", "demask.layers=3"]}
    assert "demask.layers is given twice" in fault(tmp_path, points=[{"demask.layers": 5}], base=twice)
    assert "'seed' is given twice" in fault(tmp_path, seeds=[0], base=twice)


def test_a_path_reaches_the_settings_as_it_is_written(tmp_path):
    base = {"data.name": "fashion"}
    paths = ["/x/set #2", "2024", "no", "'a'", "a: {b}", "[c]"]
    _, points = read_points(tmp_path, base=base, axes={"data.root": paths})
    assert [point.config["data"]["root"] for point in points] == paths
    words = fault(tmp_path, base=base, axes={"data.root": [2024, False]})
    assert "'data.root' is read by YAML as the int 2024: put it in quotes" in words
    assert "'data.root' is read by YAML as the bool False: put it in quotes" in words


def test_a_number_that_yaml_would_change_is_refused(tmp_path):
    path = write_grid(tmp_path)
    for number in ("010", "10:30", "-1:20.5"):
        path.write_text(f"purpose: try\nnotebook: {TOY}\naxes: {{steps: [{number}]}}\n")
        with pytest.raises(GridError, match=f"'{number}' would be read to the base of"):
            read_grid(path)


@pytest.mark.parametrize("number", [".inf", ".nan"])
@pytest.mark.parametrize(
    "entry", ["time_limit: {}", "cost: {{minutes_on_two_cores: {}}}", "slurm: {{memory_gb: {}}}"]
)
def test_times_and_memory_of_a_grid_file_are_finite(entry, number, tmp_path):
    path = write_grid(tmp_path)
    path.write_text(f"purpose: try\nnotebook: {TOY}\nseeds: [0]\n{entry.format(number)}\n")
    with pytest.raises(GridError, match=r"finite number|greater than 0"):
        read_grid(path)


def test_a_setting_that_one_point_leaves_alone_is_shown_with_its_preset_value(tmp_path):
    later = {"quantizer.kind": "simvq", "stage2.half": "first"}  # are not written where they are not given
    _, points = read_points(tmp_path, points=[{"demask.layers": 7, **later}, {"how": "well"}])

    preset = config.load_config("shapes32")
    assert points[1].settings["demask.layers"] == preset.demask.layers
    assert points[1].settings["quantizer.kind"] == preset.quantizer.kind == "ema"
    assert points[0].settings["stage2.half"] == "first" and points[1].settings["stage2.half"] is None


plain = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@given(value=st.one_of(plain, st.lists(plain, max_size=3)))
def test_an_override_reads_back_to_the_same_value(value):
    """json.dumps(1e-05) would come back from YAML as a word."""
    assert parse_override(as_override("section.key", value)) == ("section.key", value)


def test_every_fault_is_listed_at_once_with_the_nearest_known_name(tmp_path):
    points = [{"ratoi": 0.5}, {"steps": "many", "demask.layer": 3}, {"flag": 1}]
    message = fault(tmp_path, points=points)

    assert "'ratoi' is no parameter of toy.ipynb — did you mean 'ratio'? (point 0)" in message
    assert "'steps' must be an int, not the str 'many' (point 1)" in message
    assert "demask.layer: unknown setting — did you mean 'demask.layers'? (point 1)" in message
    assert "'flag' must be a bool, not the int 1 (point 2)" in message


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, "there are no points"),
        ({"axes": {"ratio": []}}, "axes: 'ratio' has no values"),
        ({"axes": {"ratio, steps": [[0.5, 3], [0.5]]}}, "needs lists of 2 values, not [0.5]"),
        ({"axes": {"seed": [1]}, "seeds": [2]}, "'seed' is given in two of axes, points and seeds"),
        ({"axes": {"ratio": [0.5]}, "points": [{"ratio": 0.25}]}, "'ratio' is given in two"),
        ({"points": [{"steps": True}]}, "'steps' must be an int, not the bool True (every point)"),
        ({"points": [{"output": "here"}]}, "'output' is set by the grid itself"),
        ({"points": [{"ratio": 1}, {"ratio": 1.0}]}, "points 0 and 1 are the same"),
        ({"points": [{"label": "a", "steps": 1}, {"label": "a"}]}, "both labelled 'a'"),
        ({"seeds": [1], "exclude": [{"seed": 2}]}, "exclude: no point matches {'seed': 2}"),
        ({"seed": [1]}, "seed: unknown entry — did you mean 'seeds'?"),
        ({"seeds": [1], "time_limit": -1}, "time_limit: Input should be greater than 0"),
        ({"seeds": [1], "notebook": "absent.ipynb"}, "there is no notebook at"),
        ({"seeds": [1], "notebook": str(NOTEBOOKS / "untagged.ipynb")}, "0 cells tagged 'parameters'"),
        ({"seeds": [1], "notebook": str(NOTEBOOKS / "no_output.ipynb")}, "takes no parameter 'output'"),
    ],
)
def test_a_grid_that_cannot_run_is_refused(tmp_path, entries, expected):
    assert expected in fault(tmp_path, **entries)


def test_parameters_that_papermill_cannot_inspect_are_checked_all_the_same(tmp_path):
    """An `=` in a help text or a default over several lines hides a parameter from papermill."""
    notebook = str(NOTEBOOKS / "hard_to_inspect.ipynb")
    _, (point,) = read_points(tmp_path, notebook=notebook, points=[{"ratio": 1, "limit": 5}])
    assert point.settings == {"ratio": 1.0, "names": ["a", "b"], "steps": 3, "limit": 5}

    message = fault(tmp_path, notebook=notebook, points=[{"ratio": "half", "names": "a", "steps": 2.5}])
    assert "'ratio' must be a float, not the str 'half'" in message
    assert "'names' must be a list, not the str 'a'" in message
    assert "'steps' must be an int, not the float 2.5" in message


def test_dates_are_refused_because_papermill_would_write_them_as_words(tmp_path):
    path = write_grid(tmp_path, points=[{"names": ["DATE"]}])
    path.write_text(path.read_text().replace("DATE", "2024-05-01"))

    with pytest.raises(GridError, match="read by YAML as a date"):
        build_points(read_grid(path))


def test_a_key_given_twice_is_refused_where_yaml_would_keep_the_last(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(f"purpose: x\nnotebook: {TOY}\nbase:\n  ratio: 0.5\n  ratio: 0.25\nseeds: [0]\n")

    with pytest.raises(GridError, match="'ratio' is given twice"):
        read_grid(path)


@pytest.mark.parametrize("written", ["1e-3", 0.001])
def test_a_float_may_be_written_without_a_dot(tmp_path, written):
    """YAML takes 1e-3 for a word."""
    _, (point,) = read_points(tmp_path, points=[{"ratio": written}])

    assert point.parameters["ratio"] == 0.001


def test_identity_is_of_what_decides_the_outcome(tmp_path):
    _, (first, second) = read_points(tmp_path, points=[{"ratio": 1}, {"ratio": 0.25}])
    _, (other, same) = read_points(tmp_path, points=[{"seed": 3}, {"label": "new name", "ratio": 1.0}])

    assert same.id == first.id, "neither index, label nor the way a number is written make a new point"
    assert len({first.id, second.id, other.id}) == 3


def test_a_changed_notebook_makes_new_points_and_its_outputs_do_not(tmp_path):
    notebook = tmp_path / "copy.ipynb"
    shutil.copy(TOY, notebook)
    _, (before,) = read_points(tmp_path, notebook=str(notebook), seeds=[0])

    notebook.write_text(notebook.read_text().replace('"outputs": []', '"outputs": [' + STREAM + "]", 1))
    _, (with_output,) = read_points(tmp_path, notebook=str(notebook), seeds=[0])
    notebook.write_text(notebook.read_text().replace("20 + ratio", "21 + ratio"))
    _, (changed,) = read_points(tmp_path, notebook=str(notebook), seeds=[0])

    assert with_output.id == before.id
    assert changed.id != before.id


STREAM = '{"name": "stdout", "output_type": "stream", "text": ["words\\n"]}'


def test_a_changed_preset_makes_new_points(tmp_path, monkeypatch):
    """The grid names a preset only: what stands in it decides the outcome just as well."""
    _, (before,) = read_points(tmp_path, seeds=[0])
    presets = tmp_path / "presets"
    shutil.copytree(config.PRESET_FOLDER, presets)
    path = presets / "shapes32.yaml"
    path.write_text(re.sub("codebook_size: [0-9]+", "codebook_size: 59", path.read_text()))
    monkeypatch.setattr(config, "PRESET_FOLDER", presets)
    _, (after,) = read_points(tmp_path, seeds=[0])

    assert after.id != before.id


def test_a_relabelled_point_keeps_its_folder(tmp_path):
    grid, (before,) = read_points(tmp_path, points=[{"label": "50 % kept / dropped", "ratio": 0.25}])
    folder = before.folder(grid.results)
    folder.mkdir(parents=True)
    _, (after,) = read_points(tmp_path, points=[{"label": "half", "ratio": 0.25}])

    assert folder.name == f"50-kept-dropped-{before.id}"
    assert after.folder(grid.results) == folder


def test_results_lie_under_the_project_and_notebooks_are_found_from_the_grid_file_or_there(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "ablations").mkdir()
    shutil.copy(TOY, tmp_path / "toy.ipynb")
    path = write_grid(tmp_path / "ablations", notebook="toy.ipynb", seeds=[0])

    grid = read_grid(path)

    assert grid.notebook == (tmp_path / "toy.ipynb").resolve()
    assert grid.results == tmp_path.resolve() / "results" / "toy_grid"


ABLATION_POINT = NOTEBOOKS.parent.parent / "notebooks" / "ablation_point.ipynb"


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"mask_ratio": 1.5}, "less than 1"),
        ({"mask": "foo"}, "mask.kind"),
        ({"mask": "none", "mask_ratio": 0.5}, "mask_ratio must be 0"),
        ({"transformer": "raster", "mask_ratio": 0.5}, "reads a code at every region"),
        ({"mask_ratio": [0.5, 0.25]}, "two of them, rising"),
        ({"mask_ratio": "half"}, "'mask_ratio' must be a float or a list, not the str 'half'"),
        ({"mask_ratio": 0.5, "mask.mask_ratio": 0.25}, "is the notebook's parameter 'mask_ratio'"),
    ],
)
def test_a_parameters_value_is_checked_before_anything_runs(tmp_path, point, words):
    """The notebook would refuse it too, but only when the point's turn has come."""
    with pytest.raises(GridError, match=words):
        read_points(tmp_path, notebook=str(ABLATION_POINT), points=[{"mask_ratio": 0.5}, point])
    read_points(
        tmp_path,
        notebook=str(ABLATION_POINT),
        points=[{"mask": "none", "mask_ratio": 0.0, "transformer": "raster"}],
    )


def test_a_range_of_ratios_is_one_value_of_an_axis(tmp_path):
    _, points = read_points(
        tmp_path, notebook=str(ABLATION_POINT), axes={"mask_ratio": [0.5, [0.0, 0.9]]}, points=[]
    )
    assert [point.parameters["mask_ratio"] for point in points] == [0.5, [0.0, 0.9]]
    assert points[1].config["mask"]["mask_ratio"] == [0.0, 0.9]


def test_a_grid_whose_exclude_leaves_nothing_is_refused(tmp_path):
    with pytest.raises(GridError, match="leaves no point"):
        read_points(tmp_path, seeds=[0], exclude=[{"seed": 0}])


def test_data_and_weights_that_are_missing_stop_a_grid_before_its_first_point(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no_weights"))
    base = {"data.name": "folder", "data.root": "no/images", "evaluation.lpips": "vgg"}
    grid, points = read_points(tmp_path, notebook=str(NOTEBOOK), base=base, seeds=[0, 1])
    with pytest.raises(GridError, match=r"there is no folder .*no/images") as caught:
        check_needs(grid, points)
    assert str(caught.value).count("vgg16-397923af.pth, which is not in") == 1


def test_folders_are_looked_for_where_a_training_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images").mkdir()
    base = {"data.name": "folder", "data.root": "~/images", "data.captions": "~/captions.csv"}
    with pytest.raises(
        GridError, match=rf"data\.captions: there is no file {tmp_path}/captions\.csv"
    ) as caught:
        check_needs(*read_points(tmp_path, notebook=str(NOTEBOOK), base=base, seeds=[0]))
    assert "data.root" not in str(caught.value)


@pytest.mark.parametrize("word", ["nan", "inf", "9" * 400])
def test_a_word_that_would_become_no_finite_number_is_refused(tmp_path, word):
    with pytest.raises(GridError, match="'ratio' "):
        read_points(tmp_path, base={"ratio": int(word) if word.isdigit() else word}, seeds=[0])


def test_fashion_is_missed_before_the_first_point_unless_it_may_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_files, "DEBIAN_FOLDER", tmp_path / "absent")
    base = {"data.name": "fashion", "data.root": str(tmp_path)}
    with pytest.raises(GridError, match=r"there is no fashion \(mvqlab data get fashion\)"):
        check_needs(*read_points(tmp_path, notebook=str(NOTEBOOK), base=base, seeds=[0, 1]))
    base["data.download"] = True
    check_needs(*read_points(tmp_path, notebook=str(NOTEBOOK), base=base, seeds=[0, 1]))


def test_a_plot_never_takes_different_points_for_one(tmp_path):
    axes = {"ratio": [0.25, 0.5], "flag": [True, False]}
    with pytest.raises(GridError, match=r"flag=False and ratio=0\.25, flag=True would be taken for one"):
        read_points(tmp_path, axes=axes, seeds=[0, 1], plot={"x": "ratio", "metrics": ["psnr"]})
    _, points = read_points(tmp_path, axes=axes, seeds=[0, 1], plot={"x": "variant", "metrics": ["psnr"]})
    assert [point.variant for point in points[:3]] == ["ratio=0.25, flag=True"] * 2 + [
        "ratio=0.25, flag=False"
    ]


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_that_come_with_it_are_fit_to_run(path):
    grid = read_grid(path)
    points = build_points(grid)
    assert grid.content.purpose and grid.content.cost and len(points) >= 5
    if path.stem != "quickstart":
        assert len(grid.content.seeds) >= 3 and grid.content.plot
