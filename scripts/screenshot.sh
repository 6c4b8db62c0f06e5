#!/bin/sh
# Takes a picture of a page that tactus wrote, with headless Chromium (scripts/setup.sh --lint installs it on Debian).
#
#   scripts/screenshot.sh PAGE OUT.png [HEIGHT]      HEIGHT in pixels [1180]; the width is 1180
#
# PAGE may end in a token to point at, as in 'rhythm.html#a1t34': token 34 of the first answer. It must lie within HEIGHT,
# since headless Chromium paints nothing of a page that has scrolled. The README's picture of the rhythm:
#
#   tactus rhythm --model DIR --input answers.jsonl --output /dev/null --html rhythm.html
#   scripts/screenshot.sh 'rhythm.html#a1t34' docs/img/rhythm.png
set -eu

case "${1:-}" in
  "" | -h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
[ -n "${2:-}" ] || { echo "screenshot: expected PAGE and OUT.png" >&2; exit 2; }
browser=$(command -v chromium || command -v google-chrome) || { echo "screenshot: Chromium is not installed" >&2; exit 2; }
page=$(realpath "${1%%#*}")
fragment=""
case "$1" in *"#"*) fragment="#${1#*#}" ;; esac

profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
  --window-size="1180,${3:-1180}" --run-all-compositor-stages-before-draw \
  --virtual-time-budget=8000 --screenshot="$(realpath "$2")" "file://$page$fragment" 2>/dev/null
ls -l "$2"
