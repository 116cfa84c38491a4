"""Generate src/runmeter/v1 from runmeter/v1/*.proto; nothing generated is committed.

Generated beside the tree and moved in file by file, only what changed: several
environments may build at once while another one imports the result.
"""

from __future__ import annotations

import sysconfig
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtoHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":  # an sdist carries the .proto files only
            return
        root = Path(self.root)
        package = root / "src" / "runmeter" / "v1"
        package.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root / "src", prefix=".generate-") as folder:
            fresh = _generate(root, Path(folder))
            for stale in {p.name for p in package.glob("*.py*")} - {p.name for p in fresh}:
                (package / stale).unlink(missing_ok=True)
            for path in fresh:
                target = package / path.name
                if not target.exists() or target.read_bytes() != path.read_bytes():
                    path.replace(target)


def _generate(root: Path, out: Path) -> list[Path]:
    from grpc_tools import protoc

    protos = sorted(p.relative_to(root).as_posix() for p in root.glob("runmeter/**/*.proto"))
    scripts = Path(sysconfig.get_path("scripts"))
    code = protoc.main(
        [
            "protoc",
            f"-I{root}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *(f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
            *protos,
        ]
    )
    if code or not protos:
        raise RuntimeError(f"protoc ended with {code} for {protos}")
    package = out / "runmeter" / "v1"
    for name in ("__init__.py", "py.typed"):
        (package / name).touch()
    return sorted(package.iterdir())
