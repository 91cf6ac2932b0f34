"""Prints the functions that a wheel needs of the C library without naming a version of it.

auditwheel looks at versions only. zig's C library for an old system lacks the functions that came
later, and so the names of these are left without a version: the module cannot be loaded there.
"""

import io
import sys
import zipfile

from elftools.elf.elffile import ELFFile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        content = wheel.read(name)
        if not name.endswith(".so") and not content.startswith(b"\x7fELF"):
            continue
        elf = ELFFile(io.BytesIO(content))
        symbols = elf.get_section_by_name(".dynsym")
        versions = elf.get_section_by_name(".gnu.version")
        for number, symbol in enumerate(symbols.iter_symbols() if symbols else ()):
            is_missing = symbol["st_shndx"] == "SHN_UNDEF"
            is_needed = symbol["st_info"]["bind"] == "STB_GLOBAL"
            is_python = symbol.name.startswith(("Py", "_Py"))
            if not (is_missing and is_needed) or is_python:
                continue
            if versions is None or versions.get_symbol(number)["ndx"] in (
                "VER_NDX_LOCAL",
                "VER_NDX_GLOBAL",
            ):
                print(name, symbol.name)
