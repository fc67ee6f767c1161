"""The examples of docs/python.md, run in order as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Server, grant

from sendgate import Client

DOCS = Path(__file__).resolve().parents[3] / "docs" / "python.md"


def test_the_examples_of_the_documentation_work(
    server: Server,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = DOCS.read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 5
    monkeypatch.setenv("SENDGATE_ENDPOINT", f"http://{server.target}")
    monkeypatch.chdir(tmp_path)
    grant(client, "+905321234567")
    names: dict[str, object] = {}
    for at, example in enumerate(examples):
        # Padded, so that an error names the line of the document.
        line = text.count("\n", 0, text.index(example))
        code = compile("\n" * line + example, str(DOCS), "exec")
        exec(code, names)
        assert names.get("__name__") != "__main__", at
    printed = capsys.readouterr().out
    due = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for lines in due:
        assert lines in printed
