#!/bin/sh
# Makes the console's bundle from its sources, into a folder: `make web` into the one that is committed, a test into another.
# TOOLS is where node_modules lies. Types are checked by `make web` alone; they do not change what is made.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
esbuild="${TOOLS:-$here/.venv-web}/node_modules/.bin/esbuild"
cd "$here/console/failshut_console/web/source"
"$esbuild" main.ts --bundle --minify --format=iife --target=es2022 --charset=utf8 --log-level=warning --outfile="$1/console.js"
"$esbuild" console.css --minify --charset=utf8 --target=chrome120,firefox120,safari17 --log-level=warning --outfile="$1/console.css"
