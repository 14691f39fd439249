# SPDX-License-Identifier: MIT OR Apache-2.0
# guest-exec gives a command's output, input and exit status as they are.
status_of() {
    "$@" >stdout 2>stderr && echo 0 || echo $?
}
[ "$(guest-exec g1 hostname)" = g1 ]
[ "$(guest-exec g2 hostname)" = g2 ]

head -c 1000000 /dev/urandom >bytes
guest-exec -i g1 cat <bytes >back
cmp bytes back

[ "$(status_of guest-exec g1 sh -c 'echo out; echo err >&2; exit 7')" = 7 ]
[ "$(cat stdout)" = out ]
[ "$(cat stderr)" = err ]
[ "$(status_of guest-exec g1 sh -c 'kill -9 $$')" = 137 ]
[ "$(status_of guest-exec g1 no-such-program)" = 127 ]
grep -q no-such-program stderr
[ "$(status_of guest-exec g1 printf '%s|' 'two words' '' '*')" = 0 ]
[ "$(cat stdout)" = 'two words||*|' ]

# What a command leaves behind does not keep its caller.
[ "$(status_of guest-exec g1 sh -c 'sleep 1000 & echo started')" = 0 ]
[ "$(cat stdout)" = started ]

[ "$(status_of guest-exec g9 true)" = 255 ]
[ "$(status_of guest-exec nobody true)" = 255 ]
grep -q "not a lab guest's name" stderr
