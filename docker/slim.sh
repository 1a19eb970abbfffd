#!/bin/sh
# Takes out of a virtual environment ($1) what only building needs. Run in the build stage of docker/Dockerfile.
set -eu

environment=$(cd "$1" && pwd)
site=$(echo "$environment"/lib/python3*/site-packages)
"$environment/bin/pip" uninstall --yes --quiet cmake ninja scikit-build-core pathspec setuptools pip

# The bindings' wheel holds its libraries and headers twice: below llama_cpp/lib and in a CMake install tree.
rm -rf "$site/include" "$site/lib" "$site/bin"

# Packages' own tests.
find "$site" -name tests -type d -prune -exec rm -rf {} +

# A wheel can't hold symbolic links, so each library is there under three names: x.so, x.so.0 (its SONAME), x.so.0.1.2.
cd "$site/llama_cpp/lib"
for library in *.so; do
    for soname in "$library".[0-9]*; do
        case $soname in
            *.so.*.*) rm -f "$soname" ;;
            *.so.[0-9]*) [ -f "$soname" ] && ln -sf "$soname" "$library" ;;
        esac
    done
done

# `corral tune` tells one build of llama.cpp from another by the libraries' names, sizes and times. Times that follow from
# the contents make its results outlive a rebuilt image that has the same libraries.
for library in *.so *.so.*; do
    [ -f "$library" ] && [ ! -L "$library" ] || continue
    sum=$(cksum <"$library")
    touch --date="@$((${sum%% *} % 1000000000))" "$library"
done

find "$environment" -name __pycache__ -type d -prune -exec rm -rf {} +
rm -f "$environment/corral-setup.log" "$environment"/corral-stamp.json*
