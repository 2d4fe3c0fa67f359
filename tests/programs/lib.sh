# Read by each script here.  A script does real work with one of Debian's programs and prints what came of it: the same lines
# natively and under VirtuOS.  The driver `under` gives:
#   RUN    the words before each command that VirtuOS shall run; empty for the native run
#   STORE  an empty directory for data: the storage domain's, under RUN
#   HOST   a directory of the host's, for logs and the like
#   QUICK  not empty: do less (the traced run)
# A script with the line "# as: ordinary user" is run as one.  Noise goes to stderr.
set -eu -o pipefail
: "${RUN=}" "${STORE:?}" "${HOST:?}" "${QUICK=}"
export LC_ALL=C.UTF-8 TZ=UTC HOME="$HOST"
umask 022
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

# amount FULL LESS: how much to do
amount() { if [ -n "$QUICK" ]; then echo "$2"; else echo "$1"; fi; }

free_port() {
	/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

servers=()
# start COMMAND...: in the background, ended with the script
start() {
	"$@" >>"$HOST/server.log" 2>&1 </dev/null &
	servers+=($!)
}

# stop: ends the last server started, and waits for it
stop() {
	local pid=${servers[-1]}
	unset 'servers[-1]'
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" || true
}

# finished: waits for the last server, which was told to end by other means
finished() {
	local pid=${servers[-1]}
	unset 'servers[-1]'
	wait "$pid"
}

# wait_port PORT: until somebody listens there; fails when the last server is gone
wait_port() {
	local i
	for ((i = 0; i < 600; i++)); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
			return 0
		fi
		if ! kill -0 "${servers[-1]}" 2>/dev/null; then
			break
		fi
		sleep 0.05
	done
	echo "nobody listens on port $1; the server said:" >&2
	tail -n 20 "$HOST/server.log" >&2
	return 1
}

cleanup() {
	local code=$? pid
	for pid in "${servers[@]}"; do
		kill -TERM "$pid" 2>/dev/null || true
	done
	for pid in "${servers[@]}"; do
		wait "$pid" 2>/dev/null || true
	done
	exit "$code"
}
trap cleanup EXIT
