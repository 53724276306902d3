#!/bin/sh
# Puts each page's words into the layout. A program in any language may stand here.
set -eu
mkdir out
cp style.css out/
for page in pages/*.txt; do
  name=$(basename "$page" .txt)
  title=$(head -n 1 "$page")
  {
    while IFS= read -r line; do
      case $line in
        '{words}') tail -n +2 "$page" ;;
        '{title}') echo "<title>$title</title>" ;;
        *) printf '%s\n' "$line" ;;
      esac
    done < layout.html
  } > "out/$name.html"
  echo "made $name.html"
done
