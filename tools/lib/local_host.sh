#!/usr/bin/env bash
# Summary: become one host of `make fleet-local`: an sshd in namespaces of its own (network, mounts, host name).
# Usage: unshare --net --mount --uts tools/lib/local_host.sh FOLDER NAME ADDRESS
#   FOLDER holds machine-id, passwd, shadow and sshd_config. It prints "ready"; a line on stdin says that eth0 is here.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
  local folder=$1 name=$2 address=$3 file
  hostname "$name"
  mount -t sysfs sysfs /sys # what it shows is of the network it was mounted in
  for file in machine-id passwd shadow; do
    [[ ! -e /etc/$file ]] || mount --bind "$folder/$file" "/etc/$file"
  done
  printf 'ready\n'
  read -r _
  ip link set lo up
  ip address add "$address/24" dev eth0
  ip link set eth0 up
  exec "$(command -v sshd)" -D -e -f "$folder/sshd_config" </dev/null >/dev/null
}

case ${1-} in
-h | --help) show_manual ;;
*) main "$@" ;;
esac
