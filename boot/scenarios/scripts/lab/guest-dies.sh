# SPDX-License-Identifier: MIT OR Apache-2.0
# A command whose guest is destroyed under it ends, and says why.
guest-exec g2 sh -c 'echo begun; sleep 1000' >begun 2>stderr &
command=$!
until grep -q begun begun; do
    kill -0 $command
    usleep 20000
done
xl destroy g2
status=0
wait $command || status=$?
[ $status = 255 ]
grep -q 'went away' stderr
