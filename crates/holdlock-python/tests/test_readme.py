"""The examples of the README that are whole programs."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


PRINTED = {
    "N holders at once": "using GPU 0",
    "Several locks at once": "True True",
    "Locks that remember": ": migrating accounts",
}


@pytest.mark.parametrize("section", PRINTED)
def test_the_example_runs(section, tmp_path, capsys):
    text = README.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "/run/user/1000/" in example
    exec(example.replace("/run/user/1000/", f"{tmp_path}/"), {})
    assert PRINTED[section] in capsys.readouterr().out
