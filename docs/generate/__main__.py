"""Write every generated file, or with `--check` fail and name those that drifted.

`make manifests` and `make drift`. What is generated comes from the tables in the code, so that a
page cannot say anything else than the code does.
"""

from __future__ import annotations

import argparse
import sys

from docs.generate import compatibility, manifests, reference


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    check = parser.parse_args().check
    drifted = []
    pages = {**manifests.generated(), **reference.generated(), **compatibility.generated()}
    for relative, content in pages.items():
        path = manifests.CHECKOUT / relative
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        drifted.append(relative)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    for relative in drifted:
        what = "is not what the code says: run make manifests" if check else "written"
        print(f"{relative}: {what}", file=sys.stderr)
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
