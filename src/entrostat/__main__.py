"""The command `entrostat`, also as `python -m entrostat`: Ctrl-C ends it quietly while its modules are still being loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """See `entrostat.cli.main`."""
    try:
        from entrostat.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
