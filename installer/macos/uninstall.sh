#!/bin/sh -p
# Removes CrypRQ from this Mac: the daemon, its job, the command line, the group.
# Usage: sudo /opt/cryprq/uninstall.sh [--purge]
# Keys, peers, configuration and logs stay, unless --purge is given. It can be run again after it failed, and it does not
# need the app, whose extension goes when the app is put in the bin.
set -u
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
unset CDPATH

label=dev.cryprq.daemon
job=system/$label
daemon=/Library/PrivilegedHelperTools/$label
group=_cryprq
support="/Library/Application Support/CrypRQ"
logs=/Library/Logs/CrypRQ

say() { printf 'CrypRQ: %s\n' "$*"; }
die() {
    printf 'CrypRQ: error: %s\n' "$*" >&2
    exit 1
}
loaded() { launchctl print $job >/dev/null 2>&1; }
# Whether an access list lets somebody change it.
granted() {
    [ -n "$(ls -led "$1" | sed -nE '/^ *[0-9]+: .* allow (.*,)?(write|append|add_|delete|chown)/p')" ]
}
remove() {
    reason=$(rm -rf "$@" 2>&1) || die "cannot remove everything, run this again when it is mended: $reason"
}

# A function, so that the shell has read all of it before the file itself goes.
main() {
    purge=no
    case ${1-} in
    '') ;;
    --purge) purge=yes ;;
    *)
        printf 'usage: sudo /opt/cryprq/uninstall.sh [--purge]\n' >&2
        exit 2
        ;;
    esac
    [ "$(id -u)" = 0 ] || die "root has to do this: sudo /opt/cryprq/uninstall.sh"
    for folder in /Library/LaunchDaemons /Library/PrivilegedHelperTools; do
        [ ! -d $folder ] || [ -w $folder ] || die "nothing can be removed from $folder: is the volume read-only?"
    done

    if loaded; then
        launchctl bootout $job >/dev/null 2>&1
        waited=0
        while loaded; do
            [ $waited -lt 20 ] || die "the daemon does not stop; 'sudo launchctl bootout $job' says why"
            waited=$((waited + 1))
            sleep 1
        done
    fi
    # What a killed daemon left in the system; only if the program is still what was installed.
    if [ -n "$(find $daemon -prune -type f -user root ! -perm -020 ! -perm -002 2>/dev/null)" ] && ! granted $daemon; then
        $daemon --cleanup >/dev/null 2>&1 || say "the daemon could not clean up after itself; a restart of the Mac does it"
    fi

    remove $daemon /Library/LaunchDaemons/$label.plist /private/etc/newsyslog.d/dev.cryprq.conf \
        /private/etc/paths.d/dev.cryprq /private/var/run/cryprq
    if dscl . -read /Groups/$group PrimaryGroupID >/dev/null 2>&1; then
        reason=$(dseditgroup -o delete -n . $group 2>&1) || die "cannot remove the group $group: $reason"
    fi
    for receipt in $label dev.cryprq.app; do
        pkgutil --forget $receipt >/dev/null 2>&1
    done
    if [ $purge = yes ]; then
        remove "$support" $logs
    else
        for folder in "$support" $logs; do
            [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null || say "kept: $folder"
        done
    fi
    # Last, because this file is in there. An empty /opt is one that the package made.
    remove /opt/cryprq
    rmdir /opt 2>/dev/null
    [ ! -d /Applications/CrypRQ.app ] || say "to remove the app and its extension, put /Applications/CrypRQ.app in the bin"
    say "removed"
    exit 0
}
main "$@"
