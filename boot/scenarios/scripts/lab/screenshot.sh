# SPDX-License-Identifier: MIT OR Apache-2.0
# A script can have a picture taken of the emulated display, and is told when that did not work.
lab-screenshot picture
if lab-screenshot ../outside 2>stderr; then
    exit 1
fi
grep -q 'no plain file name' stderr
