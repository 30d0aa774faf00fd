# Runs in the virtual machine. /out/environment names PYTHON and CHECKOUT; the results go to /out/results.xml.
set -u
. /out/environment
load() { # load LIST [PARAMETER...]: the driver and what it needs; parameters are for the driver itself
  list=$1
  shift
  while read -r module; do
    name=${module%.ko}
    [ -d "/sys/module/${name//-/_}" ] && continue
    if [ "$name" = "$list" ]; then insmod "/modules/$module" "$@"; else insmod "/modules/$module"; fi || return 1
  done <"/modules/$list.list"
}
load vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 || exit 91
load gpio-amdpt || exit 92
load xhci-pci && load usbserial && load ftdi_sio || exit 93
cd "$CHECKOUT"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$CHECKOUT" PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 OMP_NUM_THREADS=1
export EDGE_TEST_CAMERA=0
camera=tests/edge/camera/test_conformance.py
"$PYTHON" -m pytest -c tests/devices/guest/pytest.ini --rootdir "$CHECKOUT" -p no:cacheprovider -q --durations=5 \
  --basetemp=/tmp/pytest --junitxml=/out/results.xml \
  "$camera::test_pictures[device]" "$camera::test_close_twice_and_open_again[device]" \
  "$camera::test_grabber[device]" "$camera::test_no_leak_over_50_openings[device]" \
  tests/devices/guest/in_guest_camera.py tests/devices/guest/in_guest_line.py tests/devices/guest/in_guest_port.py
