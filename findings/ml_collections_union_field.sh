#!/usr/bin/env bash
# One expects: a dataclass config whose field is `int | tuple[int, int]` takes --config.size=128.
# What happens: ml_collections 1.1.0 raises TypeError for any override of that field, also for one
# of its default's own type; `int | None` works. It matters here, as image_size is one side or a
# pair: such fields are set by our own command line (gcad_jax/cli/config_flags.py).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet ml_collections==1.1.0 absl-py==2.5.0
cat > settings.py <<'PYTHON'
import dataclasses


@dataclasses.dataclass
class Settings:
    size: int | tuple[int, int] = 256
    epochs: int | None = None


def get_config():
    return Settings()
PYTHON
cat > program.py <<'PYTHON'
from absl import app
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config")
app.run(lambda _: print(CONFIG.value))
PYTHON
venv/bin/pip list 2>/dev/null | grep -i "ml_collections\|absl"
echo "--config.epochs=3:"
venv/bin/python program.py --config=settings.py --config.epochs=3 | tee optional.txt
grep -q "epochs=3" optional.txt
for value in 128 "(256,512)"; do
  echo "--config.size=$value:"
  if venv/bin/python program.py --config=settings.py "--config.size=$value" 2> error.txt; then
    echo "it is read now: this finding is out of date"; exit 1
  fi
  tail -n 1 error.txt
  grep -q "TypeError: Unable to normalize ambiguous type: int | tuple\[int, int\]" error.txt
done
