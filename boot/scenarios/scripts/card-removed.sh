# SPDX-License-Identifier: MIT OR Apache-2.0
# The card's driver leaves it, comes back, and then the card itself goes. What dom0 still maps of
# its memory is lent no more, nobody keeps the permission, and only the administrator gives it
# again.
. /usr/lib/xenlend-scenarios/common.sh
begin
card=$(pci_of bochs-drm)
driver=/sys/bus/pci/drivers/bochs-drm
borrower=$(xl domid $guest)
broker=$(xl domid $link)
read -r start end _ <"/sys/bus/pci/devices/$card/resource"
run=$(printf '%x-%x' $((start >> 12)) $((end >> 12)))
# Fails unless Xen lets exactly so many of these two domains have the card's memory; lend-aware Xen
# never does.
permitted() { # HOW-MANY
    xl debug-keys q
    xl dmesg >dmesg
    awk -v run="$run" -v domains=" $borrower $broker " '
        /pressed -> dumping domain info/ { permitted = 0 }
        /Rangesets belonging to domain/ { domain = $NF; sub(":", "", domain); read++ }
        /I\/O Memory/ && index(domains, " " domain " ") && index($0, run) { permitted++ }
        END { print permitted + 0, (read > 2 ? "" : "unreadable") }' dmesg >permitted
    expected=$1
    ! lend_aware || expected=0
    [ "$(cat permitted)" = "$expected " ] || fail "permitted: $(cat permitted), not $expected of $run"
}
# Nothing of the card is present in the guest, and a touch of a page brings nothing. An event like
# the one before it is none, so it is another page each time.
nothing_of_the_card() { # AFTER-WHAT REFUSAL OFFSET
    [ "$(counter present_pages)" = 0 ] || fail "lent after $1: $(status)"
    permitted 0
    touch_lent same "$3" 8 0
    tell await "$2" --seconds 30
    until ! lend_aware || [ "$(counter present_pages)" = 0 ]; do usleep 10000; done
    [ "$(counter present_pages)" = 0 ] || fail "lent after $1, by a touch: $(status)"
}
tell area b file "/sys/bus/pci/devices/$card/resource0" 1M 8M
permitted 0
tell allow-bar "$borrower" "$card" 0
# Once more is the same.
tell allow-bar "$borrower" "$card" 0
permitted 2
tell lend 0 b 16M
tell fill b 0 1M 1
touch_lent check 16M 1M 1
[ "$(counter present_pages)" -gt 0 ] || fail "the card's memory was not lent: $(status)"
# The mapping stays in dom0, so that no MMU notifier ends this.
echo "$card" >$driver/unbind
nothing_of_the_card 'its driver had left' OtherMmio 16M
tell check b 0 1M 1
echo "$card" >$driver/bind
nothing_of_the_card 'its driver had come' OtherMmio 16785408
tell allow-bar "$borrower" "$card" 0
permitted 2
tell fill b 0 1M 2
until touch_lent check 16M 1M 2 2>/dev/null; do usleep 100000; done
[ "$(counter present_pages)" -gt 0 ] || fail "the card's memory was not lent again: $(status)"
echo 1 >"/sys/bus/pci/devices/$card/remove"
nothing_of_the_card 'it had gone' OtherMmio 16789504
refused 'os error 19' lender tell L allow-bar "$borrower" "$card" 0
[ "$(grown forced_revocations)" = 0 ] || fail "the broker did not answer: $(status)"
guest-exec $guest true
