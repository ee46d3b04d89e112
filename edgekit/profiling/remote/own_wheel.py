"""EdgeKit itself as a wheel, packed from what is running here, so that the board runs the same code."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import edgekit
from edgekit.resources import Kind, shipped_folder

_SHIPPED: tuple[Kind, ...] = ("calib", "targets")
_TAG = "py3-none-any"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path) -> Path:
    """Write the wheel into a folder and return it; the same code gives the same bytes."""
    name = f"edgekit-{edgekit.__version__}"
    wheel = folder / f"{name}-{_TAG}.whl"
    content = {**_package(), **_shipped()}
    about = f"{name}.dist-info"
    content[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: edgekit\nVersion: {edgekit.__version__}\n".encode()
    content[f"{about}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: edgekit\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
    record = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in content.items()]
    content[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return wheel


def _package() -> dict[str, bytes]:
    root = Path(edgekit.__file__).parent
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in paths}


def _shipped() -> dict[str, bytes]:
    """Return the recipes and targets, which lie beside the package in a checkout."""
    return {
        f"edgekit/_data/{kind}/{path.name}": path.read_bytes()
        for kind in _SHIPPED
        for path in sorted(shipped_folder(kind).glob("*.toml"))
    }


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
