"""Generate src/runmeter/v1 from runmeter/v1/*.proto; nothing generated is committed.

Generated beside the tree and moved in file by file, only what changed: several
environments may build at once while another one imports the result.
"""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtoHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":  # an sdist carries the sources only
            return
        root = Path(self.root)
        package = root / "src" / "runmeter" / "v1"
        package.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root / "src", prefix=".generate-") as folder:
            fresh = _generate(root, Path(folder))
            stale = {p.name for p in package.iterdir() if p.is_file()} - {p.name for p in fresh}
            for name in stale:
                (package / name).unlink(missing_ok=True)
            for path in fresh:
                target = package / path.name
                if not target.exists() or target.read_bytes() != path.read_bytes():
                    path.replace(target)


def _generate(root: Path, out: Path) -> list[Path]:
    described = out / "described.binpb"
    protos = sorted(p.relative_to(root).as_posix() for p in root.glob("runmeter/v1/*.proto"))
    _protoc(
        f"-I{root}",
        f"-I{files('grpc_tools') / '_proto'}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={described}",
        *protos,
    )
    sys.path.insert(0, str(root))
    from generator import contract, json_reading, json_writing, rules, schemas

    whole = contract.Contract(described.read_bytes())
    plain = out / "plain.binpb"
    plain.write_bytes(contract.without_rules(described.read_bytes()))
    scripts = Path(sysconfig.get_path("scripts"))
    _protoc(
        f"--descriptor_set_in={plain}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        *(f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
        *protos,
    )
    package = out / "runmeter" / "v1"
    for name in ("__init__.py", "py.typed"):
        (package / name).touch()
    for path in (root / "runtime").glob("*.py"):
        shutil.copyfile(path, package / path.name)
    run = json.loads((root / "golden" / "run.json").read_text())
    token = json.loads((root / "golden" / "token_request.json").read_text())
    golden = {"Scope": run, "Run": run, "StoredRun": run, "CreatePushTokenRequest": token}
    (package / "json_reading.py").write_text(json_reading.generate(whole))
    (package / "json_writing.py").write_text(json_writing.generate(whole))
    (package / "rules.py").write_text(rules.generate(whole))
    (package / "schemas.json").write_text(schemas.generate(whole, golden))
    return sorted(path for path in package.iterdir() if path.is_file())


def _protoc(*arguments: str) -> None:
    from grpc_tools import protoc

    code = protoc.main(["protoc", *arguments])
    if code:
        raise RuntimeError(f"protoc ended with {code} for {arguments}")
