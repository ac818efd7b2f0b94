#!/bin/sh
# What smoke_test.py runs in the VM: device-mapper, a recorded and replayed write, and a power cut. One word a line says what works.
set -eu
here=$(dirname "$0")
if [ "$VM_BOOT" = 2 ]; then
    [ "$(dd if=/dev/vmdisk0 bs=512 skip=2048 count=1 status=none | head -c 7)" = durable ] && echo power-cut >&2
    head -c "$SMOKE_BYTES" /dev/vmdisk3 # any bytes at all must come through
    exit "$SMOKE_STATUS"
fi
echo "$(id -u) $SMOKE_WORD" >&2
echo changed >"$SMOKE_FILE"
echo overlay >&2
dmsetup create recorded --table "0 2048 log-writes /dev/vmdisk0 /dev/vmdisk1"
put() { printf '%s' "$1" | dd of=/dev/mapper/recorded bs=512 conv=sync,fsync,notrunc status=none; }
put before
dmsetup message recorded 0 mark changing
put after
dmsetup remove recorded
"$here/log-writes-replay" /dev/vmdisk1 /dev/vmdisk2 --from changing --at every -- \
    sh -c 'case $(head -c 6 /dev/vmdisk2 | tr -d "\0") in before | after) ;; *) exit 9 ;; esac' >/dev/null
[ "$(head -c 5 /dev/vmdisk2)" = after ] && echo replay >&2
echo durable | dd of=/dev/vmdisk0 bs=512 seek=2048 conv=sync,fsync,notrunc status=none
exec vm-power-cut
