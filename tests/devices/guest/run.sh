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
load gpio-amdpt && load uhid && load hid-cp2112 || exit 92
load xhci-pci && load usbserial && load ftdi_sio || exit 93
cd "$CHECKOUT"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$CHECKOUT" PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 OMP_NUM_THREADS=1
export EDGE_TEST_CAMERA=0 EDGE_TEST_PORT=/dev/ttyS1
export EDGE_TEST_LINE_OUT=gpiod://cp2112_gpio/2 EDGE_TEST_LINE_IN=gpiod://cp2112_gpio/5
"$PYTHON" tests/devices/guest/cp2112.py 2 5 &
emulator=$!
for _ in $(seq 100); do [ -e /dev/gpiochip1 ] && break; sleep 0.1; done
camera=tests/edge/camera/test_conformance.py
ports=tests/firmware_bridge/test_ports.py
lines=tests/firmware_bridge/test_lines.py
"$PYTHON" -m pytest -c tests/devices/guest/pytest.ini --rootdir "$CHECKOUT" -p no:cacheprovider -q --durations=5 \
  --basetemp=/tmp/pytest --junitxml=/out/results.xml \
  "$camera::test_pictures[device]" "$camera::test_close_twice_and_open_again[device]" \
  "$camera::test_grabber[device]" "$camera::test_no_leak_over_50_openings[device]" \
  "$ports::test_every_byte_value_passes_unchanged[named]" "$ports::test_an_idle_read_returns_soon_and_empty[named]" \
  "$ports::test_wake_never_hurts[named]" "$ports::test_close_twice_and_then_it_is_gone[named]" \
  "$lines::test_it_starts_inactive_follows_and_ends_inactive[named]" "$lines::test_a_closed_line_is_gone[named]" \
  "$lines::test_the_self_test_proves_it_and_leaves_it_inactive[named]" "$lines::test_a_rise_is_seen_once[named]" \
  tests/devices/guest/in_guest_camera.py tests/devices/guest/in_guest_line.py tests/devices/guest/in_guest_port.py
status=$?
kill $emulator
exit $status
