"""``sfumato --install-completion`` writes cyclopts' script, which knows every command and where files may stand."""

import subprocess
import sys

from tests.conftest import run_sfumato


def test_the_installed_script_knows_every_command_and_completes_files(tmp_path):
    ran = run_sfumato("--install-completion", "--shell", "bash", folder=tmp_path, env={"HOME": str(tmp_path)})
    assert ran.code == 0, ran.err
    script = next(tmp_path.rglob("completions/sfumato")).read_text(encoding="utf-8")
    for command in ("audit", "compare", "doctor", "explain", "init", "judge", "probe", "report"):
        assert f" {command}" in script or f"{command} " in script
    assert "compgen -f" in script


def test_the_commands_load_neither_torch_nor_numpy():
    code = (
        "import sys\nfrom sfumato.cli import main\nassert main(['--help']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
