#!/usr/bin/env bash
# Find Tux Paint's captioned stamps by their captions and by their English recordings:
# tuxpaint_search.sh [WORK], on Debian and Ubuntu. The package is unpacked there, not installed.
set -euo pipefail

mkdir -p "${1:-tuxpaint}"
cd "${1:-tuxpaint}"
if [ ! -d usr ]; then
    if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null ||
        ! apt-get download -q tuxpaint-stamps-default; then
        echo "tuxpaint_search.sh: apt cannot get tuxpaint-stamps-default here, nothing done"
        exit 0
    fi
    dpkg-deb -x tuxpaint-stamps-default_*.deb .
fi

# A table of pictures and captions, and two of questions; a caption is line 1 of the text file.
printf 'image\tcaption\n' > stamps.tsv
printf 'text\n' > captions.tsv
printf 'id\tspeech\n' > recordings.tsv
find usr/share/tuxpaint/stamps -name '*.png' | LC_ALL=C sort | while read -r picture; do
    stem=${picture%.png}
    [ -f "$stem.txt" ] || continue # mirror images have none
    read -r caption < "$stem.txt"
    printf '%s\t%s\n' "$picture" "$caption" >> stamps.tsv
    printf '%s\n' "$caption" >> captions.tsv
    [ ! -f "${stem}_desc.ogg" ] || printf '%s\t%s\n' "$caption" "${stem}_desc.ogg" >> recordings.tsv
done
mmcli extract stamps.tsv -o store --force
mmcli retrieve index store -o index --force

# A hit is a picture with the caption asked for, whichever of those that share it.
for questions in captions recordings; do
    mmcli retrieve search index --queries $questions.tsv -k 10 --columns caption --format tsv |
        awk -F '\t' -v name=$questions '
            $2 == 1 { n++; first += $1 == $5 }
            $1 == $5 && !found[n]++ { ten++ }
            END { printf "%d %s: hit@1 %.3f, hit@10 %.3f\n", n, name, first / n, ten / n }'
done
