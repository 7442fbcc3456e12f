#!/bin/sh
# Install bubblewrap, git and the EGL libraries if they are missing and we may; otherwise say what will be missing.
# With the word browser: Chromium alone, in which tests open pages. Debian packages it; Ubuntu has it as a snap, which is left to the user.
if [ "$(id -u)" = 0 ]; then as=""; elif sudo -n true 2> /dev/null; then as="sudo -n"; else as=none; fi
if [ "$1" = browser ]; then
  command -v chromium > /dev/null && exit 0
  if command -v apt-get > /dev/null && [ "$as" != none ]; then
    $as apt-get update -qq
    apt-cache show chromium > /dev/null 2>&1 &&
      DEBIAN_FRONTEND=noninteractive $as apt-get install -qq -y --no-install-recommends chromium > /dev/null && exit 0
  fi
  echo "Chromium is not installed: the tests that open pages will be skipped (Debian: sudo apt install chromium)" >&2
  exit 0
fi
missing=""
command -v bwrap > /dev/null || missing="$missing bubblewrap"
command -v git > /dev/null || missing="$missing git"
for library in libEGL.so.1 libOpenGL.so.0; do
  ldconfig -p 2> /dev/null | grep -q "$library" || missing="$missing libegl1 libopengl0 libgl1-mesa-dri"
done
[ -z "$missing" ] && exit 0
if command -v apt-get > /dev/null; then
  if [ "$as" != none ]; then
    # shellcheck disable=SC2086
    $as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as apt-get install -qq -y $missing > /dev/null && exit 0
  fi
fi
echo "not installed:$missing (type: sudo apt install$missing); going on without" >&2
exit 0
