# SPDX-License-Identifier: MIT OR Apache-2.0
# What the scenarios' scripts share. Sourced; the borrower is $guest, its lender process is L.
guest=${guest:-g1}
link=xenlend-$guest

# Whether Xen knows lent memory.
lend_aware() { [ "${XEN_KIND:-stock}" = lend ]; }

# Whether the borrower's driver is loaded in the guests.
has_driver() { [ "${DRIVER:-none}" != none ]; }

# Says why and fails.
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# A lender process that is bound to the borrower; it ends with the script, whatever it is doing.
begin() {
    modprobe -a ownframes vgem virtio-gpu
    lender=$(lender start L)
    trap end EXIT
    trap 'exit 143' TERM
    lender tell L bind "$(xl domid "$guest")"
    status >status.before
    # Nothing that was lent over this link so far has paused the guest there.
    ! lend_aware || grep -q '^pause_brackets=0$' status.before || fail "the guest was paused: $(status)"
}

# Ends the lender process, and returns when the kernel has closed everything it had. Programs in the
# guest that work on the control area stop too: what is not lent reads as ones.
end() {
    # A test may have ended it already.
    if [ -d /proc/"$lender" ]; then kill -9 "$lender"; fi
    wait_for_end "$lender"
    trap - EXIT
}

# Waits for the end of a process that is no child of this shell.
wait_for_end() {
    while grep -q '^State:.*[^Z] (' /proc/"$1"/status 2>/dev/null; do usleep 10000; done
}

# Whatever is left of guest and broker goes.
clear_away() {
    if xl domid "$guest" 2>/dev/null; then xl destroy "$guest"; fi
    await_nothing_left
}

# A guest that nothing has happened to, its broker brought up with these options.
fresh_guest() {
    clear_away
    xl create /etc/xen/"$guest".cfg || return 1
    xenlend up "$guest" "$@" || return 1
    await_boot "$guest"
}

# A guest that is soon saved, and its broker. The aperture is right behind the guest's memory: an
# image has a word for each page number up to the last that is there.
small_guest() {
    clear_away
    sed -e 's/^memory.*/memory = 128/' -e 's/^maxmem.*/maxmem = 128/' \
        -e 's/memmap=[^ ]*/memmap=64M$0x20000000/' /etc/xen/"$guest".cfg >own.cfg
    xl create own.cfg || return 1
    xenlend up "$guest" --again || return 1
    await_boot "$guest"
}

# A lender process, and memory of it that the guest reads.
use_lease() { # SEED
    begin
    tell area m memfd 64K
    tell fill m 0 64K "$1"
    tell lend 0 m 16M
    touch_lent check 16M 64K "$1"
}

# A guest of a type that Flask knows, without a broker.
labelled() { # GUEST TYPE
    xl create /etc/xen/"$1".cfg "seclabel='system_u:system_r:$2'" || return 1
    await_boot "$1"
}

# A guest listens when it has booted; until then nobody answers.
await_boot() {
    until guest-exec "$1" true 2>/dev/null; do
        if ! xl domid "$1"; then
            echo "the guest died while it booted" >&2
            return 1
        fi
        usleep 200000
    done
}

# Waits until neither the guest nor its broker is left, not even as a zombie: the supervisor takes the
# broker down with its guest.
await_nothing_left() {
    while xl list | grep -q -E "^$guest |^$link |null"; do usleep 100000; done
    while xenlend status --json | grep -q "\"$guest\""; do usleep 100000; done
}

# What can only be lent when the place is free is lent then: with the borrower's driver the broker keeps the
# place of a lease that has ended until the driver has confirmed its zap.
when_free() {
    until "$@" 2>lend.err; do
        if ! has_driver || ! grep -q -i busy lend.err; then
            cat lend.err >&2
            return 1
        fi
        usleep 10000
    done
}

tell() {
    case $1 in
    lend) when_free lender tell L "$@" ;;
    *) lender tell L "$@" ;;
    esac
}
# What is not lent: reads as ones, or the program that touches it gets a signal.
nothing_lent() { # OFFSET
    if lend_aware; then
        touch_lent fault "$1" || fail "something is lent at $1"
    else
        # The driver maps nothing there; the second stage is asked.
        touch_lent --dev-mem peek "$1" 8 | tee peek
        grep -q ffffffffffffffff peek
    fi
}
touch_lent() { guest-exec "$guest" xenlend-touch "$@"; }
status() { tell status; }

# One counter of the link, now.
counter() { status | sed -n "s/^$1=//p"; }

# How much a counter has grown since begin.
grown() { echo $(($(counter "$1") - $(sed -n "s/^$1=//p" status.before))); }

# Fails unless the command fails, and says something that matches.
refused() {
    pattern=$1
    shift
    if "$@" >refused.out 2>&1; then
        fail "should have been refused: $*"
    fi
    grep -q "$pattern" refused.out || {
        cat refused.out >&2
        fail "refused for another reason than '$pattern': $*"
    }
}

# The control area, lent at the end of the aperture, where nothing else is put.
control=$((255 << 20))
lend_control() {
    tell area c memfd 16K
    tell lend 63 c $control
}

# Starts hunters in the guest and returns when they hunt: OFFSET PAGES POISON [more options].
start_hunt() {
    tell go c
    rm -f hunt.fifo
    mkfifo hunt.fifo
    guest-exec "$guest" xenlend-touch hunt "$1" "$2" $control --poison "$3" ${4:-} >hunt.fifo 2>hunt.err &
    hunter=$!
    exec 3<hunt.fifo
    read -r word <&3 || word=nothing
    [ "$word" = hunting ] || fail "no hunter: $word $(cat hunt.err)"
}

# Ends the hunt and gives the guest's verdict.
end_hunt() {
    tell stop c
    cat <&3 >hunt.out
    exec 3<&-
    cat hunt.out
    wait $hunter
}

# Twelve buffers of the emulated card, 48 MiB against 16 MiB of VRAM, each a region of its own so that
# each one's moves are counted, from 16 MiB of the aperture on.
lend_buffers() {
    tell allow-bar "$(xl domid "$guest")" "$(pci_of bochs-drm)" 0
    tell area d dumb bochs-drm 12 --display
    for buffer in 0 1 2 3 4 5 6 7 8 9 10 11; do
        tell lend $buffer d $((16 + buffer * 4))M --start $((buffer * 4))M --bytes 4M
    done
}

# The graphics card of a driver: SSSS:BB:DD.F
pci_of() { basename "$(ls -d /sys/bus/pci/drivers/"$1"/????:*)"; }
