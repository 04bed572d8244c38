"""What all tests share: one torch thread, and one OpenGL back end."""

import pytest
import torch

from pbrl_envs import gl

torch.set_num_threads(1)  # networks of a few units only wait for each other
gl.choose_backend()  # before anything imports PyOpenGL, which binds to one platform per process


@pytest.fixture(scope="session")
def gl_backend() -> str:
    backend = gl.choose_backend()
    if backend is None or gl.probe(backend) is not None:
        pytest.skip(f"no OpenGL back end draws here; {gl.HOW_TO_GET}")
    return backend
