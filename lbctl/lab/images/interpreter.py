"""The lowest layer of our image: the running interpreter and the system files it needs.

It may be a distribution's /usr/bin/python3.11, a pyenv build or a copy of either, so
nothing is taken from a fixed place: the program is what this process runs, the standard
library is where `sysconfig` says, and shared libraries are those that `ldd` resolves. In
the image all of it lies under /usr/local; libraries go beside the C library, which the
dynamic loader searches without a cache or an environment. Called by `checkout`.
"""

import importlib.util
import marshal
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lbctl.lab.binaries import BuildError
from lbctl.lab.images.oci import Directory, Entry, File, Symlink

HOME = "usr/local"
PROGRAM = f"python{sys.version_info.major}.{sys.version_info.minor}"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

# Parts of the standard library that no process of ours imports, most of its size.
_UNUSED = frozenset(
    [
        "__pycache__",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "pydoc_data",
        "venv",
        "site-packages",
        "dist-packages",
        "curses",
        "dbm",
    ]
)
_UNUSED_FILES = re.compile(
    r"(_test|_ctypes_test|_tkinter|_curses|_dbm|_gdbm|readline|xxlimited|_xx|nis|ossaudio"
    r"|turtle\.py|_crypt|spwd|audioop)"
)
# Loaded by name at run time, so no program links them: threads that are cancelled, names.
_ALSO_WANTED = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")
_WORTH_STRIPPING = 4_000_000
_CERTIFICATE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def identity() -> str:
    """Return a text that changes whenever another interpreter runs this."""
    program = _program()
    state = program.stat()
    return f"{program} {sys.version} {state.st_size} {state.st_mtime_ns} {os.uname().machine}"


def entries() -> dict[str, Entry]:
    """Return interpreter, standard library, shared libraries and the files below /etc.

    Raises:
        BuildError: a file that must be there is not.
    """
    program = _program()
    made: dict[str, Entry] = {
        f"{HOME}/bin/{PROGRAM}": File(content=_stripped(program), mode=0o755),
        f"{HOME}/bin/python3": Symlink(target=PROGRAM),
        f"{HOME}/bin/python": Symlink(target=PROGRAM),
        **_standard_library(),
        **_system_files(),
    }
    return {**made, **libraries([program, *extensions(made)])}


def compiled(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the entries with the compiled form of every Python module beside its source."""
    made = dict(entries)
    tag = sys.implementation.cache_tag
    for name, entry in entries.items():
        if not name.endswith(".py") or not isinstance(entry, File):
            continue
        source = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
        directory, _, file = name.rpartition("/")
        try:
            code = compile(source, f"/{name}", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue  # templates and examples of other versions that some packages carry
        # PEP 552, a pyc that is not checked against its source: flags 0b01, then the hash.
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
        content = head + importlib.util.source_hash(source) + marshal.dumps(code)
        made[f"{directory}/__pycache__/{file[:-3]}.{tag}.pyc"] = File(content=content)
    return made


def _program() -> Path:
    """Return the real program of the running interpreter, behind any virtual environment."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return Path(base).resolve()


def _standard_library() -> dict[str, Entry]:
    root = Path(sysconfig.get_path("stdlib"))
    if not (root / "os.py").is_file():
        raise BuildError(f"the standard library is not in {root}: install Python with its sources")
    inside = f"{HOME}/{sys.platlibdir}/{PROGRAM}"
    made: dict[str, Entry] = {}
    for directory, children, files in os.walk(root):
        here = Path(directory)
        children[:] = [c for c in children if c not in _UNUSED and not c.startswith("config-")]
        for file in files:
            path = here / file
            if path.suffix in {".py", ".so"} and not _UNUSED_FILES.match(file) and path.is_file():
                made[f"{inside}/{path.relative_to(root)}"] = File(content=path)
    dynamic = sysconfig.get_config_var("DESTSHARED") or ""
    if dynamic and not any("/lib-dynload/" in name for name in made) and Path(dynamic).is_dir():
        for path in Path(dynamic).glob("*.so"):
            if not _UNUSED_FILES.match(path.name):
                made[f"{inside}/lib-dynload/{path.name}"] = File(content=path)
    return made


def extensions(made: Mapping[str, Entry]) -> list[Path]:
    """Return the extension modules among these entries, as files of this machine."""
    files = (entry.content for entry in made.values() if isinstance(entry, File))
    return [content for content in files if isinstance(content, Path) and content.suffix == ".so"]


def libraries(binaries: Sequence[Path]) -> dict[str, Entry]:
    """Return the shared libraries these files link, and the loader at the path they name.

    None for no binaries. A library that a wheel brings along is found by its own
    relative path and left out.

    Raises:
        BuildError: `ldd` finds no C library, so the program is static or not for glibc.
    """
    if not binaries:
        return {}
    own = Path(sysconfig.get_path("platlib")).resolve()
    found: dict[str, Path] = {}
    loader = ""
    for binary in binaries:
        listing = subprocess.run(
            ["ldd", str(binary)], capture_output=True, text=True, check=False
        ).stdout
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", listing, re.MULTILINE):
            if not Path(path).resolve().is_relative_to(own):
                found[name] = Path(path)
        absolute = re.search(r"^\s*(/\S*ld[^ ]*\.so\S*) \(", listing, re.MULTILINE)
        loader = loader or (absolute[1] if absolute else "")
    if platform.libc_ver()[0] != "glibc" or not loader or "libc.so.6" not in found:
        raise BuildError(
            f"ldd does not tell the libraries of {_program()}: the image needs a dynamically "
            "linked Python on glibc"
        )
    libc = found["libc.so.6"]
    for name in _ALSO_WANTED:
        if (libc.parent / name).exists():
            found.setdefault(name, libc.parent / name)
    # /lib is a link to /usr/lib on merged systems; in the image it is a plain directory.
    made: dict[str, Entry] = {
        f"{str(libc.parent).lstrip('/')}/{name}": File(
            content=_stripped(path.resolve()), mode=0o755
        )
        for name, path in found.items()
    }
    made[loader.lstrip("/")] = File(content=Path(loader).resolve(), mode=0o755)
    return made


def _stripped(path: Path) -> bytes | Path:
    """Return a big file without its debugging symbols: a pyenv libpython is 23 MB with them.

    Where binutils is not installed the file is taken as it is; it works as well.
    """
    strip = shutil.which("strip")
    if strip is None or path.stat().st_size < _WORTH_STRIPPING:
        return path
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / path.name
        done = subprocess.run(
            [strip, "--strip-unneeded", "-o", str(out), str(path)], capture_output=True, check=False
        )
        return out.read_bytes() if done.returncode == 0 else path


def _system_files() -> dict[str, Entry]:
    """Return users, name service, certificates and the directories a pod mounts over."""
    defaults = ssl.get_default_verify_paths()
    candidates = [*_CERTIFICATE_FILES, *([defaults.cafile] if defaults.cafile else [])]
    certificates = next((path for path in map(Path, candidates) if path.is_file()), None)
    texts = {
        "etc/passwd": "root:x:0:0::/:/sbin/nologin\nlbctl:x:65532:65532::/:/sbin/nologin\n",
        "etc/group": "root:x:0:\nlbctl:x:65532:\n",
        "etc/nsswitch.conf": "hosts: files dns\n",
    }
    return {
        **{name: File(content=text.encode()) for name, text in texts.items()},
        **({CERTIFICATES: File(content=certificates)} if certificates else {}),
        "tmp": Directory(mode=0o1777),
        "run": Directory(),
    }
