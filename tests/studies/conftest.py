"""The definition of sPRO that tests of the evaluation compare with serves here too."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "evaluation"))
