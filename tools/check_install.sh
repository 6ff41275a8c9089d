#!/usr/bin/env bash
# Install the wheel as a user would into an empty environment of each Python, and try it there.
#
# tools/check_install.sh python3.10 python3.14 ...     (default: python3)
#
# For each: an environment in a temporary folder, one `pip install --no-cache-dir` of a wheel built from a copy of this
# checkout, samples by every tower of the package from a crop of a photograph, then a subset of the tests, all outside
# this checkout. Prints a line each: version, seconds of the installation, MB downloaded, MB of the environment, what
# failed; the exit status is 1 if any did. Needs 10 GB of disk while it runs; PIP_INDEX_URL and the like work as with pip.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tests=(test_compat.py test_unchanged.py archs/test_tower.py data/test_prepare.py degradations/test_jpeg.py
    imle/test_search.py losses/test_distance.py metrics/test_image_sets.py)

copy() { # paths of the checkout into a folder
    mkdir -p "$1" && tar -C "$root" --exclude=__pycache__ --exclude=_vendor --exclude='*.egg-info' -cf - "${@:2}" | tar -C "$1" -xf -
}

make_inputs() { # one for each task, of one photograph
    "$1" - "$root/docs/models/sr16x-small.jpg" <<'PYTHON'
import sys

from PIL import Image

photo = Image.open(sys.argv[1]).convert("RGB").crop((8, 40, 72, 104))
grey = photo.convert("L")
photo.resize((16, 16), Image.Resampling.BOX).save("sr.png")
photo.save("decompress.jpg", quality=5)
grey.save("colorize.png")
grey.resize((32, 32)).save("mnist.png")
grey.point(lambda value: value * 11 // 256).save("layout.png")
PYTHON
}

sample_all() { # by the command line, with every tower of the package
    local towers tower input
    towers=$("$1/tim" models | awk '{print $1}') && [ -n "$towers" ] || return 1
    make_inputs "$1/python" || return 1
    for tower in $towers; do
        input=$(ls "$(echo "$tower" | sed 's/^flowers-//; s/[0-9-].*//')".*) || return 1
        "$1/tim" sample -i "$input" -o "samples/$tower" --model "$tower" -n 2 || return 1
        [ "$(find "samples/$tower" -name '*_s0?.png' | wc -l)" = 2 ] || return 1
    done
}

downloaded() { # MB, by what pip printed
    grep -oE 'Downloading [^ ]+ \([0-9.]+ [kMG]B\)' "$1" | sort -u | tr -d '()' |
        awk '{ mb += $3 * ($4 == "kB" ? 0.001 : $4 == "GB" ? 1000 : 1) } END { printf "%.0f", mb }'
}

check() { # $1 Python, $2 folder; sets seconds, fetched, mb, result
    local bin=$2/env/bin start=$SECONDS
    seconds=- fetched=- mb=- result="failed: "
    copy "$2/source" setup.py pyproject.toml MANIFEST.in README.md LICENSE wheels options tim_plugin || return
    copy "$2/elsewhere" pyproject.toml tests tools options docs README.md || return
    cd "$2/elsewhere" || return
    result+="environment"
    "$1" -m venv "$2/env" || return
    result="failed: building the wheel"
    "$bin/pip" wheel --no-cache-dir --no-deps -w "$2/dist" "$2/source" || return
    result="failed: pip install" start=$SECONDS
    "$bin/pip" install --no-cache-dir "$2"/dist/*.whl || return
    seconds=$((SECONDS - start)) fetched=$(downloaded "$2/log") mb=$(du -sm "$2/env" | cut -f1) result="failed: samples"
    "$bin/pip" check || return
    sample_all "$bin" || return
    result="failed: tests"
    "$bin/pip" install --no-cache-dir "$(echo "$2"/dist/*.whl)[test]" || return
    "$bin/python" -m pytest -n 0 "${tests[@]/#/tests/}" || return
    result=ok
}

failed=0
row='%-8s %8s %13s %7s  %s\n'
printf "$row" Python seconds 'MB downloaded' 'MB here' result
for python in "${@:-python3}"; do
    python=$(command -v "$python") || { failed=1 && continue; }
    folder=$(mktemp -d)
    check "$python" "$folder" >"$folder/log" 2>&1
    version=$("$python" -c 'import platform; print(platform.python_version())')
    printf "$row" "$version" "$seconds" "$fetched" "$mb" "$result"
    [ "$result" = ok ] || { failed=1 && tail -n 60 "$folder/log" >&2; }
    cd "$root" && rm -rf "$folder"
done
exit $failed
