"""The command `entrostat`, also as `python -m entrostat`. Ctrl-C while modules are loaded ends it with one line."""

from __future__ import annotations

import sys


def main() -> None:
    """See `entrostat.cli.main`."""
    from entrostat.cli import _interrupt

    try:
        _interrupt.listen()
        from entrostat.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_interrupt.end())
    except Exception:
        if _interrupt.asked():  # an import has made another error of it
            sys.exit(_interrupt.end())
        raise


if __name__ == "__main__":
    main()
