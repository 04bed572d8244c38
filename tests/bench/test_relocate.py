"""A run that lies elsewhere says so."""

from omegaconf import OmegaConf

from pbrl.bench.executors.relocate import relocate


def test_config_and_command_name_where_the_run_belongs(tmp_path):
    OmegaConf.save({"run_dir": "/node/run", "data": "/node/data", "note": "a data=b"}, tmp_path / "config.yaml")
    (tmp_path / "command.txt").write_text(
        "pbrl train data=/node/data 'name=x y' run_dir=/node/run --config-dir /node/own\n"
    )
    relocate(tmp_path, "/home/out/s 0", "/home/data", "/home/own")
    assert OmegaConf.load(tmp_path / "config.yaml") == {
        "run_dir": "/home/out/s 0",
        "data": "/home/data",
        "note": "a data=b",
    }
    command = "pbrl train data=/home/data 'name=x y' 'run_dir=/home/out/s 0' --config-dir /home/own\n"
    assert (tmp_path / "command.txt").read_text() == command
