"""``python -m synaptoroute`` is the command ``synaptoroute``."""

from __future__ import annotations

from synaptoroute.cli import main

if __name__ == "__main__":
    main()
