# Ends what a folder of servers lists and removes the folder, as soon as standard input ends: that is when its owner is gone, however it went.
# Usage: sh -c "$(cat guard.sh)" guard FOLDER
trap '' HUP INT TERM
while read -r _; do :; done
folder=$1
case $folder in */replay-svc-*) ;; *) exit 2 ;; esac
cd / || exit 2

# A process id may have been given to another process since, so the start time has to agree. The dead that nobody has collected count as gone.
identity() {
    if [ -r "/proc/$1/stat" ]; then
        set -- $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)
        [ "$1" = Z ] || echo "${20}"
    elif [ ! -d /proc/self ]; then
        ps -o stat= -o lstart= -p "$1" 2>/dev/null | grep -v '^ *Z' | tr -s ' ' '_' | sed 's/^_*[^_]*_//; s/_*$//'
    fi
}
each() { # RUN pid signal, for every process that still lives
    [ -f "$folder/pids" ] || return 0
    while read -r pid start signal; do
        if [ -n "$start" ] && [ "$(identity "$pid")" = "$start" ]; then "$1" "$pid" "$signal"; fi
    done <"$folder/pids"
}
ask() { kill -s "$2" "$1" 2>/dev/null; kill -s CONT "$1" 2>/dev/null; }
name() { echo "$1"; }
force() { kill -s KILL "$1" 2>/dev/null; }

each ask
tries=100
while [ "$tries" -gt 0 ] && [ -n "$(each name)" ]; do
    sleep 0.05
    tries=$((tries - 1))
done
each force

if [ -f "$folder/containers" ]; then
    while read -r engine container; do "$engine" rm --force --volumes "$container" >/dev/null 2>&1; done <"$folder/containers"
fi
# A PostgreSQL that was killed leaves a block of shared memory behind, and says which in its pid file.
if [ -f "$folder/data/postmaster.pid" ]; then
    block=$(sed -n 's/^ *[0-9][0-9]*  *\([0-9][0-9]*\) *$/\1/p' "$folder/data/postmaster.pid")
    [ -z "$block" ] || ipcrm -m "$block" 2>/dev/null
fi
# Once more if a process that was killed wrote while it was being removed.
rm -rf -- "$folder" 2>/dev/null || { sleep 0.2; rm -rf -- "$folder"; }
