#!/usr/bin/env bash
# Both openstack clients, today's and Debian 12's, against the simulator: see tests/clients/run.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/../tests/clients/run.sh" "$@"
