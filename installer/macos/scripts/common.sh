# shellcheck shell=sh disable=SC2034
# What preinstall and postinstall share; sourced, never run. Nothing of the caller's environment is used: the installer can
# be started with sudo, and then its variables are those of a person who is not root.
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
# With this, sw_vers tells an older macOS.
unset CDPATH SYSTEM_VERSION_COMPAT
umask 022

label=dev.cryprq.daemon
job=system/$label
job_file=/Library/LaunchDaemons/$label.plist
daemon=/Library/PrivilegedHelperTools/$label
home=/opt/cryprq
cli=$home/bin/cryprq
uninstaller=$home/uninstall.sh
support="/Library/Application Support/CrypRQ"
logs=/Library/Logs/CrypRQ
group=_cryprq

say() { printf 'CrypRQ: %s\n' "$*"; }
die() {
    printf 'CrypRQ: error: %s\n' "$*" >&2
    exit 1
}

# Who may install, and where: $1 is the volume.
check_caller() {
    [ "$(id -u)" = 0 ] || die "an administrator has to install this: open the package, or use 'sudo installer'"
    [ "$1" = / ] || die "this is installed on the volume that the Mac starts from, not on '$1'"
}

# Whether an access list lets somebody change what $1 is, of which its mode says nothing. Some of macOS's own folders have
# one that forbids.
granted() {
    [ -n "$(ls -led "$1" | sed -nE '/^ *[0-9]+: .* allow (.*,)?(write|append|add_|delete|chown)/p')" ]
}

# Whether root alone can change what $1 is, if it is there at all. $2 is "d" for a folder, "f" for a file, which then has
# no second name either.
roots_own() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    if granted "$1"; then return 1; fi
    if [ "$2" = f ]; then
        [ -n "$(find "$1" -prune -type f -links 1 -user root ! -perm -020 ! -perm -002)" ]
    else
        [ -n "$(find "$1" -prune -type d -user root ! -perm -020 ! -perm -002)" ]
    fi
}

# Each folder from the root to our files; $reason says what is wrong with one. In one that others can change they could put
# a program that root starts, or a link to a place where root then writes.
check_folders() {
    for folder in /opt $home $home/bin /Library /Library/LaunchDaemons /Library/PrivilegedHelperTools "$support" $logs \
        /private /private/etc /private/etc/newsyslog.d /private/etc/paths.d; do
        roots_own "$folder" d || {
            reason="$folder is a link, or others than root may change it; 'ls -led' shows it, and 'sudo chown root:wheel', 'sudo chmod 755' and 'sudo chmod -N' mend it"
            return 1
        }
    done
    # These two are the system's, and an administrator may write there.
    for folder in "/Library/Application Support" /Library/Logs; do
        [ -n "$(find "$folder" -prune -type d -user root ! -perm -002)" ] || {
            reason="$folder is not the system's own folder"
            return 1
        }
    done
}

loaded() { launchctl print $job >/dev/null 2>&1; }

# Stops the daemon and waits until launchd has forgotten it; some seconds are usual.
stop_job() {
    loaded || return 0
    launchctl bootout $job >/dev/null 2>&1
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        loaded || return 0
        sleep 1
    done
    return 1
}

# Whether version $1 is later than $2; both are three numbers.
later() {
    a=$1. b=$2.
    for _ in 1 2 3; do
        x=${a%%.*} y=${b%%.*}
        [ "$x" -eq "$y" ] || {
            [ "$x" -gt "$y" ]
            return
        }
        a=${a#*.} b=${b#*.}
    done
    return 1
}
