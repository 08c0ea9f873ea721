import pytest
from helpers.tool_server import ToolServer


@pytest.fixture(scope='package')
def tools(root):
    """Starts the tools as a user does."""
    server = ToolServer(root)
    yield server
    server.close()
