#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The baseline of "python -m bench campaign": what a person would write for git bisect run, with the same fragments, the
# same VM and the same probe, two boots for a good answer, no proof, no checks.
#   plain-bisect.sh REPO WORK KCONFIGS
set -eu
repo=$1 work=$2 kconfigs=$3
tree=$work/tree objects=$work/objects shared=/var/tmp/plain-bisect-$$
mkdir -p "$objects" "$shared" "$work/home"
trap 'rm -rf "$shared"' EXIT
git clone -q --shared --no-checkout "$repo" "$tree"
git -C "$tree" checkout -q bad
cat "$kconfigs/base.config" "$kconfigs/lvm-raid.config" >"$work/fragment"

cat >"$shared/probe" <<'P'
#!/bin/bash
# In the VM: raid1 LV on two NVMe legs, QEMU opens it; what is left of the array goes to "state".
exec >"$SHARED/log" 2>&1
export PATH=$PATH:/sbin:/usr/sbin LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p /run/lvm /run/lock/lvm
cfg='activation{monitoring=0 udev_sync=0 udev_rules=0} devices{filter=["a|/dev/nvme.*|","r|.*|"]} global{use_lvmpolld=0}'
vgcreate --config "$cfg" -y vg0 /dev/nvme0n1 /dev/nvme1n1
lvcreate --config "$cfg" --type raid1 -m1 -L 32M -n boot vg0 -y
until dmsetup status vg0-boot | grep -q 'AA 65536/65536 idle'; do sleep 0.3; done
printf '{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n' | timeout 90 qemu-system-x86_64 -machine q35,accel=tcg -S \
  -nodefaults -display none -m 64 -serial none -qmp stdio \
  -drive file=/dev/mapper/vg0-boot,format=raw,cache.direct=on,aio=native,if=none,id=d0 -device virtio-blk-pci,drive=d0
dmsetup status vg0-boot >"$SHARED/state"
P
chmod +x "$shared/probe"

cat >"$work/step" <<S
#!/bin/bash
cd "$tree" || exit 128
make -s O="$objects" KCONFIG_ALLCONFIG="$work/fragment" allnoconfig >/dev/null || exit 125
make -s O="$objects" -j"$(nproc)" CC="ccache gcc" LOCALVERSION= KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=b \\
  KBUILD_BUILD_HOST=b bzImage >"$work/build.log" 2>&1 || exit 125
for boot in 1 2; do
  rm -f "$shared/state"; truncate -s 128M "$work/0.img" "$work/1.img"
  opts=
  for i in 0 1; do
    opts+=" -drive file=$work/\$i.img,if=none,id=leg\$i,format=raw,cache=unsafe -device nvme,drive=leg\$i,serial=leg\$i"
  done
  HOME="$work/home" timeout 240 "$VNG" --verbose --run "$objects/arch/x86/boot/bzImage" --disable-kvm --force-9p \\
    --memory 2G --cpus 2 "--rwdir=$shared=$shared" "--qemu-opts=\$opts" \\
    --exec "SHARED=$shared $shared/probe" </dev/null >"$work/console.log" 2>&1
  rm -f "$work/0.img" "$work/1.img"
  [ -s "$shared/state" ] || exit 125
  grep -q ' AA ' "$shared/state" || exit 1
done
exit 0
S
chmod +x "$work/step"
git -C "$tree" bisect start bad good
git -C "$tree" bisect run "$work/step"
