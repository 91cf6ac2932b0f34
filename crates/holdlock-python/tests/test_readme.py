"""The examples of the README, and those of docs/record.md, that are whole programs."""

import re
from pathlib import Path

import pytest

from holdlock import StaleToken

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


def test_the_examples_of_tokens_run_and_refuse_older_tokens(tmp_path):
    text = README.parents[2].joinpath("docs/record.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = {}
    for example in examples:
        exec(example.replace("/tmp/", f"{tmp_path}/"), names)
    assert (tmp_path / "accounts.txt").read_text() == "ann: 100"
    ((value, token),) = names["database"].execute("SELECT value, token FROM account")
    assert value == 100 and token > 0
    with pytest.raises(RuntimeError, match="too old"):
        names["write"](5, token - 1)
    with pytest.raises(StaleToken):
        names["gate"].enter(token)
    names["database"].close()
