import pytest
from offline_data import make_data


@pytest.fixture(scope="session")
def data():
    return make_data()
