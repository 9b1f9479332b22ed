"""Generates the modules of kvproto from its .proto files, or checks that the committed ones are what it would generate.

The modules are committed: users need no protoc, and reviewers see what a change of a .proto file does. The generator's
version is pinned in pyproject.toml, because its output differs from version to version.
"""

import argparse
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

HERE = Path(__file__).parent
SUFFIXES = (".py", ".pyi")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    check = parser.parse_args().check
    if util.find_spec("grpc_tools") is None:
        print("grpcio-tools is not installed (it has no wheel for this Python): the generated modules are not checked")
        return 0 if check else 1
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        wanted = contents(Path(scratch))
    present = contents(HERE)
    stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    for name in stale:
        change = "is missing" if name not in present else "has no .proto file" if name not in wanted else "differs"
        print(f"protos/{name} {change}")
        if not check and name in wanted:
            (HERE / name).write_bytes(wanted[name])
        elif not check:
            (HERE / name).unlink()
    if stale and check:
        print(f"run make protos (grpcio-tools {metadata.version('grpcio-tools')})")
        return 1
    print(f"{len(wanted)} generated modules are {'as they should be' if not stale else 'written'}")
    return 0


def generate(target: Path) -> None:
    from grpc_tools import protoc  # type: ignore[import-untyped]  # noqa: PLC0415 - absent on some Pythons

    names = [str(path.relative_to(HERE)) for path in sorted(HERE.rglob("*.proto"))]
    # protoc's own .proto files (google/protobuf/...) come with grpcio-tools.
    include = Path(protoc.__file__).parent / "_proto"
    status = protoc.main(
        ["protoc", f"-I{HERE}", f"-I{include}", f"--python_out={target}", f"--pyi_out={target}", *names]
    )
    if status != 0:
        sys.exit(f"protoc exited with code {status}")


def contents(root: Path) -> dict[str, bytes]:
    """The generated modules below ``root``."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*_pb2*") if path.suffix in SUFFIXES}


if __name__ == "__main__":
    sys.exit(main())
