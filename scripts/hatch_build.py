"""Puts configs/ into the wheel as pbrl/configs, and the compiled kernel where there is a C compiler.

An editable install reads the checkout's configs, and compiles the kernel at first use.
"""

import importlib.util
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    folder: Path | None = None

    def initialize(self, version: str, build_data: dict) -> None:
        if version != "standard":
            return
        build_data["force_include"]["configs"] = "pbrl/configs"
        self.folder = Path(tempfile.mkdtemp())
        if made := self.compile_kernels(self.folder):
            build_data["force_include"] |= {str(path): f"pbrl/native/{path.name}" for path in made}
            build_data["pure_python"] = False
            # The kernel knows neither Python's nor torch's ABI, only the machine.
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)

    def compile_kernels(self, folder: Path) -> list[Path]:
        """Compile one for each kind of processor of this machine's family that the compiler knows."""
        build = load_build(Path(self.root) / "pbrl" / "native" / "build.py")
        using, made = build.compiler(), []
        for kind in build.kinds_of_machine() if using is not None else ():
            path = folder / build.library_name(kind)
            try:
                build.compile_library(kind, path, using)
                made.append(path)
            except (OSError, subprocess.SubprocessError) as error:
                self.app.display_warning(f"the kernel for {kind} is left out: {error}")
        if using is None:
            self.app.display_warning("no C compiler: the wheel has no kernel, and compiles one at first use")
        return made


def load_build(path: Path):
    """Load pbrl/native/build.py, which needs nothing of the package."""
    spec = importlib.util.spec_from_file_location("pbrl_native_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
