from __future__ import annotations

import sys
from pathlib import Path

# The example is no package that is installed: its users run it in its folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "10_ranker"))
