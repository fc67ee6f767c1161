"""Generates the messages of `sendgate.v1` into the wheel."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("sendgate", "v1")


class GenerateMessages(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc and adds what it makes to the wheel; the tree stays as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        from grpc_tools import protoc

        proto = self._proto()
        # Kept until `finalize`: hatchling copies the files after this method.
        self._made = tempfile.TemporaryDirectory()
        code = protoc.main(
            [
                "protoc",
                f"-I{proto}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"--python_out={self._made.name}",
                f"--pyi_out={self._made.name}",
                *(str(path) for path in sorted((proto / PACKAGE).glob("*.proto"))),
            ]
        )
        if code != 0:
            raise RuntimeError(f"protoc failed with code {code}")
        made = Path(self._made.name)
        (made / PACKAGE / "__init__.py").write_text(
            '"""The messages of the wire contract, as protoc generates them."""\n',
            encoding="utf-8",
        )
        for path in sorted((made / PACKAGE).iterdir()):
            build_data["force_include"][str(path)] = str(PACKAGE / path.name)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._made.cleanup()

    def _proto(self) -> Path:
        """The proto files: of this source distribution, or of the repository."""
        here = Path(self.root)
        for folder in (here / "proto", here.parent.parent / "proto"):
            if (folder / PACKAGE).is_dir():
                return folder
        raise RuntimeError("build this inside the repository: its proto folder is needed")
