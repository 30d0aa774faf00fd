#!/bin/bash
# build.sh CACHE: makes CACHE/vmlinux, CACHE/initrd.gz and CACHE/gpio.aml from the kernel package that apt offers.
# Nothing is installed; what is there already and up to date is kept.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
cd "$cache"

package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ {print $2; exit}')
[ -n "$package" ] || { echo "apt offers no linux-image-amd64; run: sudo apt-get update" >&2; exit 1; }
stamp="$package $(apt-cache policy "$package" | awk '/Candidate:/ {print $2}') $(cat "$here/build.sh" "$here/guest/init" "$here/guest/gpio.asl" | sha256sum)"
[ -e stamp ] && [ "$(cat stamp)" = "$stamp" ] && exit 0
rm -rf kernel stamp ./*.deb

apt-get -o APT::Sandbox::User=root download -q "$package" >&2
dpkg-deb -x ./"$package"_*.deb kernel
rm ./"$package"_*.deb
version=$(basename kernel/lib/modules/*)
/sbin/depmod -b kernel "$version"
python3 "$here/vmlinux.py" "kernel/boot/vmlinuz-$version" vmlinux
iasl -p gpio "$here/guest/gpio.asl" >/dev/null

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,modules,proc,sys,dev,etc,root,tmp,out}
cp /bin/busybox "$root/bin/"
install -m 755 "$here/guest/init" "$root/init"
list() { # list NAME MODULE...: copy the modules with what they need; NAME.list has the order of loading
  local name=$1
  shift
  for module in "$@"; do /sbin/modprobe -S "$version" -d kernel --show-depends "$module"; done |
    awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
    plain=$(basename "$file" .xz)
    if [ ! -e "$root/modules/$plain" ]; then
      case $file in *.xz) xz -dc "$file" >"$root/modules/$plain" ;; *) cp "$file" "$root/modules/$plain" ;; esac
      strip --strip-debug "$root/modules/$plain"
    fi
    echo "$plain"
  done >"$root/modules/$name.list"
}
list base virtio_pci 9pnet_virtio 9p
for module in vivid gpio-amdpt uhid hid-cp2112 xhci-pci usbserial ftdi_sio; do list "$module" "$module"; done
cp /etc/ld.so.cache /etc/passwd /etc/group /etc/nsswitch.conf "$root/etc/"
cp -a /etc/alternatives "$root/etc/"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
rm -rf kernel
echo "$stamp" >stamp
