"""Config files are found by path or by their name below configs/, from any folder."""

from pathlib import Path

import pytest

from d2road.config import find, find_config, make_cfg

DEMO = "diffusion_det/toy_roadside/demo.yaml"


@pytest.mark.parametrize("name", [DEMO, f"configs/{DEMO}", f"./configs/{DEMO}", Path("configs") / DEMO])
def test_a_shipped_config_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(find_config(name)) == find.configs_dir() / DEMO
    assert make_cfg(str(name)).OUTPUT_DIR == "output/demo/train"


def test_a_file_at_the_given_path_comes_first_and_bases_are_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / DEMO
    own.parent.mkdir(parents=True)
    own.write_text('_BASE_: "base.yaml"\nSEED: 5\n')
    own.with_name("base.yaml").write_text("SEED: 4\nOUTPUT_DIR: own\n")
    cfg = make_cfg(f"configs/{DEMO}")
    assert (cfg.SEED, cfg.OUTPUT_DIR) == (5, "own")


@pytest.mark.parametrize("folder", [".", "own/deep"])
def test_a_base_may_be_named_below_configs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path(folder, "own.yaml")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"_BASE_: {DEMO}\nSEED: 5\n")
    for name in (own, own.resolve()):
        cfg = make_cfg(str(name))
        assert (cfg.SEED, cfg.OUTPUT_DIR) == (5, "output/demo/train")
    own.write_text("_BASE_: diffusion_det/toy_roadside/none.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"its _BASE_ file .*none\.yaml does not exist"):
        make_cfg(str(own))


def test_an_installed_package_reads_its_own_data(tmp_path, monkeypatch):
    packaged = tmp_path / "d2road" / "configs" / "a.yaml"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("SEED: 3\n")
    (tmp_path / "configs").mkdir()  # of whoever is installed beside it
    monkeypatch.setattr(find, "PACKAGE", tmp_path / "d2road")
    assert find_config("a.yaml") == str(packaged)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("configs/diffusion_det/toy_roadside/dmeo.yaml", DEMO),
        ("demo.yaml", DEMO),
        (f"/nowhere/configs/{DEMO}", DEMO),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(
        FileNotFoundError, match=rf"config file {name} does not exist \(looked from .*did you mean.*{near}"
    ):
        make_cfg(name)


def test_a_name_like_no_other_suggests_nothing():
    with pytest.raises(FileNotFoundError, match="qqqqqq does not exist") as info:
        find_config("qqqqqq")
    assert "did you mean" not in str(info.value)
