# SPDX-License-Identifier: MIT OR Apache-2.0
# What scenarios with several borrowers share. Sourced behind common.sh; a guest's lender process is LNAME, and
# $run names the run whose counts are kept.
mkdir -p work

to() { whom=$1 && shift && lender tell "L$whom" "$@"; }
in_guest() { guest-exec "$@"; }

# A lender process for each, with 32 pages lent at 16 MiB.
lend_to() {
    for who in "$@"; do
        pids="$pids $(lender start "L$who")"
        to "$who" bind "$(xl domid "$who")"
        to "$who" area o own 32
        until to "$who" lend 0 o 16M 2>lend.err; do
            grep -q -i busy lend.err || fail "$(cat lend.err)"
        done
        to "$who" status >"work/$who.before"
    done
}
end_all() {
    for pid in $pids; do
        if [ -d /proc/"$pid" ]; then kill -9 "$pid"; fi
        wait_for_end "$pid"
    done
    pids=
}
pids=
trap end_all EXIT
trap 'exit 143' TERM
modprobe ownframes

# One guest's work: nine migrations, and every line of 32 pages judged three times. No two guests' pages hold
# the same.
work_of() {
    seed=$((${1#g} * 16))
    to "$1" fill o 0 128K $seed
    in_guest "$1" xenlend-touch check 16M 128K $seed
    for part in 0 16 32 48 64 80 96 112; do to "$1" revoke o ${part}K 16K; done
    in_guest "$1" xenlend-touch check 16M 128K $seed
    in_guest "$1" xenlend-touch fill 16M 128K $((seed + 1))
    to "$1" revoke o 0 128K
    to "$1" check o 0 128K $((seed + 1))
    to "$1" verify o
    echo "pages_checked=96"
}

# Work of several guests at a time. The first word names the phase.
work() {
    phase=$1
    shift
    workers=
    for who in "$@"; do
        work_of "$who" >"work/$who.$phase" 2>&1 &
        workers="$workers $who:$!"
    done
    for worker in $workers; do
        wait "${worker#*:}" || fail "$phase: ${worker%:*}: $(cat "work/${worker%:*}.$phase")"
        tail -n 1 "work/${worker%:*}.$phase" >>"work/${worker%:*}.$run"
    done
    echo "$run $phase: done at $(cut -d ' ' -f 1 /proc/uptime) s"
}
