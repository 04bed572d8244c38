"""Advice to install something works as it stands, whichever way pbrl itself came here."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from pbrl import install

ROOT = Path(__file__).resolve().parents[1]


class Distribution:
    def __init__(self, url):
        self.url = url

    def read_text(self, name):
        assert name == "direct_url.json"
        return None if self.url is None else json.dumps({"url": self.url, "archive_info": {}})


@pytest.fixture
def installed_from(monkeypatch, tmp_path):
    """`installed_from(url)`: as if pbrl lay in site-packages, brought from there, or from an index for None."""

    def installed_from(url):
        monkeypatch.setattr(install, "__file__", str(tmp_path / "site-packages" / "pbrl" / "install.py"))
        monkeypatch.setattr(install.metadata, "distribution", lambda name: Distribution(url))

    return installed_from


def words(command):
    return shlex.split(command)[-1]


def test_a_checkout_is_named_by_its_folder():
    assert shlex.split(install.install_extra("dmc"))[-3:] == ["install", "-e", f"{ROOT}[dmc]"]
    assert shlex.split(install.reinstall())[-4:] == ["install", "--force-reinstall", "-e", str(ROOT)]


def test_a_package_of_an_index_is_named_by_its_name(installed_from):
    installed_from(None)
    assert words(install.install_extra("dmc")) == "pbrl[dmc]"
    assert words(install.reinstall()) == "pbrl"


def test_a_wheel_is_named_by_its_file_as_long_as_it_is_there(installed_from, tmp_path):
    wheel = tmp_path / "pbrl-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed_from(wheel.as_uri())
    assert words(install.install_extra("dmc")) == f"pbrl[dmc] @ {wheel.as_uri()}"
    wheel.unlink()
    assert words(install.install_extra("dmc")) == "pbrl[dmc]"


def test_pip_is_that_of_the_python_that_runs(monkeypatch):
    ours = str(Path(sys.executable).parent / "pip")
    monkeypatch.setattr(install.shutil, "which", lambda name: ours)
    assert install.pip_install("h5py") == "pip install h5py"
    monkeypatch.setattr(install.shutil, "which", lambda name: "/usr/bin/pip")
    assert install.pip_install("h5py") == f"{sys.executable} -m pip install h5py"
