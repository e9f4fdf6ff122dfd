"""Without what SkyPilot's API server needs: the plugin says what is missing, the command line does not notice."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = """
import sys
from importlib.abc import MetaPathFinder
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


def _python(blocked: str, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code, blocked]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "statement", ["import sky_melange.skypilot.plugin", "from sky_melange.skypilot.plugin import MelangePlugin"]
)
@pytest.mark.parametrize("blocked", ["fastapi", "sqlalchemy", "sky", "fastapi,sqlalchemy"])
def test_importing_the_plugin_says_what_is_missing(blocked: str, statement: str) -> None:
    done = _python(
        blocked, f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)\nelse:\n    print('no error')"
    )
    assert done.returncode == 0, done.stderr
    for name in blocked.split(","):
        assert name in done.stdout
    assert "pip install 'skypilot>=0.14.1,<0.15'" in done.stdout
    assert "cannot be imported" in done.stdout


def test_something_deeper_that_is_missing_is_named_too() -> None:
    """Whatever SkyPilot itself fails to import, the error is ours."""
    statement = "from sky_melange.skypilot.plugin import MelangePlugin"
    code = f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)"
    done = _python("jsonschema", code)
    assert "and jsonschema cannot be imported" in done.stdout, done.stderr


@pytest.mark.parametrize("blocked", ["fastapi,sqlalchemy,starlette,uvicorn,casbin,psycopg2", "sky,fastapi,sqlalchemy"])
@pytest.mark.parametrize("command", ["--help", "schema", "plan --help", "prices --offline --cloud lambda --format csv"])
def test_the_command_line_is_unaffected(blocked: str, command: str) -> None:
    code = f"sys.argv[:] = ['sky-melange', *{command.split()!r}]\nfrom sky_melange.cli import main\nmain()"
    done = _python(
        blocked,
        "blocked = sys.argv[1]\nBlock.find_spec.__globals__['sys'] = type(sys)('x')\n"
        "Block.find_spec.__globals__['sys'].argv = ['', blocked]\nimport sys\n" + code,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_there_is_nothing_else_in_the_package() -> None:
    from sky_melange.skypilot import plugin

    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = plugin.Nope
