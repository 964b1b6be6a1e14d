#!/usr/bin/env bash
# Summary: PCP as a peer: pmcd, its agent and pmlogger, once a second into ./archive, nothing installed or kept.
# Usage: bench/pcp.sh proc|host   (in an empty directory, which takes all its files)
# Environment: PEERS, a directory into which PCP's packages were unpacked; unset: PCP is installed.
# It listens on loopback only, and on a socket in the directory.

set -euo pipefail

# What the agent's name, its number among the agents and the metrics are.
case ${1-} in
proc)
  agent=proc domain=3
  metrics='proc.psinfo.utime proc.psinfo.stime proc.psinfo.start_time proc.memory.rss'
  ;;
host)
  agent=linux domain=60
  metrics='kernel.all.cpu.user kernel.all.cpu.sys kernel.all.cpu.idle kernel.all.cpu.wait.total mem.util.free
    network.interface.in.bytes network.interface.out.bytes'
  ;;
*)
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
  ;;
esac

peers=${PEERS-}
[[ -z $peers ]] || export LD_LIBRARY_PATH=$peers/usr/lib
export PCP_CONF=$PWD/pcp.conf PMLOGGER_LOCAL=1

# PCP's own settings, with its programs under $peers and all that it writes here.
sed -E -e "s#^(PCP_[A-Z0-9_]+=)/(usr|etc|var)/#\1$peers/\2/#" \
  -e "s#^(PCP_(RUN|LOG|TMP|TMPFILE|ARCHIVE|SA)_DIR=).*#\1$PWD#" "$peers/etc/pcp.conf" >pcp.conf

pmdas=$peers/usr/lib/pcp/pmdas
printf '%s\t%s\tpipe\tbinary\t%s -d %s -l %s.log\n' \
  "$agent" "$domain" "$pmdas/$agent/pmda$agent" "$domain" "$PWD/$agent" >pmcd.conf
printf 'log mandatory on 1 sec { %s }\n' "$metrics" >pmlogger.conf

"$peers/usr/lib/pcp/bin/pmcd" -f -A -i 127.0.0.1 -p 44399 -s "$PWD/pmcd.socket" -U root \
  -c pmcd.conf -n "$peers/usr/lib/pcp/pmns/root_$agent" -l pmcd.log &
until [[ -S pmcd.socket ]]; do sleep 0.05; done
exec "$peers/usr/bin/pmlogger" -h "unix:/$PWD/pmcd.socket" -U root -L -c pmlogger.conf -l pmlogger.log archive
