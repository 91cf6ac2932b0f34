"""All that pip asks of a build system when it only downloads: the name and the version.

Without it pip installs filelock's build system first, and all the packages that it needs.
"""

from __future__ import annotations

import shutil
from email.parser import HeaderParser
from pathlib import Path


def prepare_metadata_for_build_wheel(directory: str, settings: object = None) -> str:
    """Copies the metadata of the source distribution, which is the working directory."""
    about = HeaderParser().parsestr(Path("PKG-INFO").read_text(encoding="utf-8"))
    place = Path(directory, f"{about['Name']}-{about['Version']}.dist-info")
    place.mkdir()
    shutil.copy("PKG-INFO", place / "METADATA")
    return place.name
