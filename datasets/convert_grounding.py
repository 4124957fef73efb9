"""Published grounding data, and label files, in the schema of docs/grounding_data.md: `d2road convert`.

python datasets/convert_grounding.py --source mono3drefer:ROOT:test --output FILE
"""

import sys
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
