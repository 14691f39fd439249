# SPDX-License-Identifier: MIT OR Apache-2.0
# Domains are known by their UUIDs: a stranger's VM that is called like a broker outlives everything that the tool does,
# and a guest and a broker that were renamed are what they were before.
. /usr/lib/xenlend-scenarios/common.sh
clear_away
xl create /etc/xen/"$guest".cfg
# As like a broker as can be, but for the UUID. It never runs; what counts is that it stays.
xenlend up "$guest"
sed '/^uuid/d' /var/run/xenlend/*.cfg >stranger.cfg
xenlend down "$guest"
xl create -p -q stranger.cfg
stranger=$(xl domid "$link")
stranger_lives() { xl list "$stranger" | grep -q -- '--p---' || fail "the stranger has come to harm: $(xl list)"; }
refused "which is none of this guest's" xenlend up "$guest"
refused "is not up" xenlend down "$guest"
stranger_lives
xl rename "$stranger" stranger
xenlend up "$guest"
broker=$(xl domid "$link")
# Now everybody has another name, and the stranger that of the broker.
xl rename "$broker" nobody
xl rename "$stranger" "$link"
xl rename "$guest" renamed
xenlend status | tee status.renamed
grep -q "^renamed .*connected" status.renamed || fail "the guest is not known by its name of now"
refused "called renamed now" xenlend down "$guest"
refused "is up already" xenlend up renamed
xenlend supervise renamed | grep -q "has its supervisor" || fail "its supervisor is not known"
stranger_lives
# A stranger in the guest's place: it has nothing of what the guest has.
xl rename "$stranger" "$guest"
refused "is not up" xenlend down "$guest"
stranger_lives
xl rename "$stranger" "$link"
xenlend down renamed
if xl list "$broker" 2>/dev/null; then fail "the broker is still there"; fi
stranger_lives
xl rename renamed "$guest"
# Without a record too: what dom0 has written in xenstore tells the broker, not its name.
xl rename "$stranger" stranger
xenlend up "$guest"
broker=$(xl domid "$link")
supervisor=$(xenlend status --json "$guest" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
kill "$supervisor"
wait_for_end "$supervisor"
rm /var/run/xenlend/*.json
xl rename "$broker" nobody
xl rename "$stranger" "$link"
xenlend down "$guest"
if xl list "$broker" 2>/dev/null; then fail "the broker is still there"; fi
stranger_lives
# The guest ends: its broker goes, the stranger stays.
xl rename "$stranger" stranger
xenlend up "$guest"
broker=$(xl domid "$link")
xl rename "$broker" nobody
xl rename "$stranger" "$link"
xl destroy "$guest"
while xl list "$broker" 2>/dev/null; do usleep 100000; done
stranger_lives
xl destroy "$stranger"
