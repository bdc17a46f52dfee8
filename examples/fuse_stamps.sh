#!/usr/bin/env bash
# What kind of thing is on a stamp? From its picture, its caption and a French recording:
# fuse_stamps.sh [WORK [METHODS]], on Debian and Ubuntu. The package is unpacked, not installed.
set -euo pipefail

methods=${2:-hybrid:gated}
mkdir -p "${1:-tuxpaint}"
cd "${1:-tuxpaint}"
if [ ! -d usr ]; then
    if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null ||
        ! apt-get download -q tuxpaint-stamps-default; then
        echo "fuse_stamps.sh: apt cannot get tuxpaint-stamps-default here, nothing done"
        exit 0
    fi
    dpkg-deb -x tuxpaint-stamps-default_*.deb .
fi

# A table; the category is the first folder. Some stamps have no French recording.
printf 'image\ttext\tcaption\tspeech\tcategory\n' > things.tsv
find usr/share/tuxpaint/stamps -name '*.png' | LC_ALL=C sort | while read -r picture; do
    stem=${picture%.png}
    [ -f "$stem.txt" ] || continue # mirror images have none
    read -r caption < "$stem.txt"
    french=${stem}_desc_fr.ogg
    [ -f "$french" ] || french=
    category=${picture#usr/share/tuxpaint/stamps/}
    printf '%s\t%s\t%s\t%s\t%s\n' "$picture" "$caption" "$caption" "$french" "${category%%/*}"
done >> things.tsv
mmcli extract things.tsv -o things --force \
    --image efficientnet-lite0 --speech whisper-tiny-en --speech logmel

# No caption is in two splits, and every split has its share of each category.
mmcli data split things -o things.parquet --test 0.4 --val 0.15 --force \
    --group-by caption --stratify-by category
mmcli fuse train things -o categories --label category --method "$methods" --force \
    --split-file things.parquet --group-by caption
