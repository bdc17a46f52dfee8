#!/usr/bin/env bash
# How many labels does it take? Categories of Tux Paint's stamps from no shots, one, two … sixteen:
# fewshot.sh [WORK [SHOTS]], on Debian and Ubuntu. The package is unpacked, not installed.
set -euo pipefail

shots=${2:-1,2,4,8,16}
mkdir -p "${1:-tuxpaint}"
cd "${1:-tuxpaint}"
if [ ! -d usr ]; then
    if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null ||
        ! apt-get download -q tuxpaint-stamps-default; then
        echo "fewshot.sh: apt cannot get tuxpaint-stamps-default here, nothing done"
        exit 0
    fi
    dpkg-deb -x tuxpaint-stamps-default_*.deb .
fi

# A table; the category is the first folder. One encoder shares a space with words, for zero-shot;
# the other sees more, for the shots.
printf 'image\tcaption\tcategory\n' > stamps.tsv
find usr/share/tuxpaint/stamps/ -name '*.png' | LC_ALL=C sort | while read -r picture; do
    [ -f "${picture%.png}.txt" ] || continue # mirror images have none
    read -r caption < "${picture%.png}.txt"
    category=${picture#usr/share/tuxpaint/stamps/}
    printf '%s\t%s\t%s\n' "$picture" "$caption" "${category%%/*}"
done >> stamps.tsv
mmcli extract stamps.tsv -o stamps --force \
    --image conse-efficientnet-lite0 --image efficientnet-lite0

# No caption is in two splits. From the store on it takes seconds.
mmcli finetune --task classification stamps -o ladder --force \
    --label category --group-by caption --shots "$shots"
mmcli predict ladder stamps -o predictions --split test --force
