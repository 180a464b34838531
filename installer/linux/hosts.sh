# shellcheck shell=bash disable=SC2154
# Small Debian systems in namespaces, for installer/linux/test: the makers, `on` that runs a command on one, and what is on
# it. Sourced; wants $work, a folder, and $boots, "yes" for systems that boot their own systemd.

base=${CRYPRQ_DEBIAN_BASE:-${XDG_CACHE_HOME:-$HOME/.cache}/cryprq/debian-$(. /etc/os-release && echo "$VERSION_CODENAME")}
contents=systemd,systemd-sysv,dbus,iproute2,iputils-ping,nftables,procps,python3-minimal
declare -A leader=()

skip() { echo "skipped: the Debian package: $*"; exit 0; }
say() { printf 'package: %s\n' "$*"; }
die() { printf 'package: error: %s\n' "$*" >&2; exit 1; }

# A Debian with systemd, made once from the machine's own mirror. Whoever makes it at the same time is waited for.
make_base() {
    mkdir -p "$(dirname "$base")"
    exec 8>"$base.lock"
    flock 8
    if [ "$(cat "$base/.complete" 2>/dev/null)" != "$contents" ]; then
        local mirror log
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
        log=$(mktemp)
        rm -rf "$base"
        debootstrap --variant=minbase --include="$contents" "$(basename "$base" | cut -d- -f2)" "$base" "$mirror" >"$log" 2>&1 ||
            die "debootstrap: $(tail -1 "$log")"
        rm "$log"
        echo "$contents" >"$base/.complete"
    fi
    exec 8>&-
}

# ---- hosts ----

start_host() {
    local name=$1
    mkdir "$work/$name" "$work/$name.upper" "$work/$name.work" "$work/$name.manager"
    # What is written lies above the base; where that cannot be, in a copy.
    mount -t overlay -o "lowerdir=$base,upperdir=$work/$name.upper,workdir=$work/$name.work" none "$work/$name" 2>/dev/null ||
        cp -a "$base/." "$work/$name"
    echo "$name" >"$work/$name/etc/hostname"
    rm -f "$work/$name/.complete" "$work/$name/etc/machine-id"
    mkdir "$work/$name/packages"
    ip netns add "cryprq-$name"
    if [ "$boots" = yes ]; then boot "$name"; else unbooted "$name"; fi
}

# systemd as it is, in a container of its own.
boot() {
    local name=$1 log=$work/$1.log
    systemd-nspawn --quiet --register=no --keep-unit --directory="$work/$name" --boot --kill-signal=SIGRTMIN+3 --capability=CAP_NET_ADMIN \
        --network-namespace-path="/run/netns/cryprq-$name" --bind=/dev/net/tun --bind-ro="$work/packages:/packages" \
        </dev/null >"$log" 2>&1 &
    leader[$name]=$!
    for _ in $(seq 300); do
        kill -0 "${leader[$name]}" 2>/dev/null || skip "no system boots in a container here: $(tail -1 "$log")"
        case $(on "$name" systemctl is-system-running 2>/dev/null) in running | degraded) return ;; esac
        sleep 0.1
    done
    die "$name does not come up: $(tail -1 "$log")"
}

# Namespaces, in which our service manager is the first process, and `systemctl` and `journalctl` ask it.
unbooted() {
    local name=$1
    cp installer/linux/service-manager "$work/$name.manager/"
    mkdir "$work/$name/manager"
    # shellcheck disable=SC2016
    nsenter --net="/run/netns/cryprq-$name" unshare --mount --uts --ipc --pid --fork --kill-child --propagation private sh -ec '
        root=$1 packages=$2 manager=$3
        hostname "${root##*/}"
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount -t tmpfs -o mode=755 none "$root/run"
        mkdir -p "$root/run/systemd/system" "$root/run/mount"
        mount -t tmpfs -o mode=755 none "$root/dev"
        mkdir "$root/dev/net"
        for device in null zero full random urandom net/tun; do
            : >"$root/dev/$device"
            mount --bind "/dev/$device" "$root/dev/$device"
        done
        mount --bind "$packages" "$root/packages"
        mount --bind "$manager" "$root/manager"
        : >"$root/manager/real-systemctl"
        mount --bind "$root/usr/bin/systemctl" "$root/manager/real-systemctl"
        for command in systemctl journalctl; do
            mount --bind "$manager/service-manager" "$root/usr/bin/$command"
        done
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /manager/service-manager
    ' sh "$work/$name" "$work/packages" "$work/$name.manager" </dev/null >"$work/$name.log" 2>&1 &
    leader[$name]=$!
    for _ in $(seq 300); do
        kill -0 "${leader[$name]}" 2>/dev/null || die "$name does not come up: $(tail -1 "$work/$name.log")"
        ! on "$name" systemctl is-system-running >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    die "$name does not come up: $(tail -1 "$work/$name.log")"
}

# Ends them all, and removes what they wrote.
remove_hosts() {
    local name
    for name in "${!leader[@]}"; do
        # unshare waits for the first process, whose end is everybody's.
        if [ "$boots" = yes ]; then kill "${leader[$name]}"; else pkill -KILL -P "${leader[$name]}"; fi 2>/dev/null || true
        wait "${leader[$name]}" 2>/dev/null || true
        ip netns delete "cryprq-$name" 2>/dev/null || true
        ! mountpoint --quiet "$work/$name" || umount "$work/$name"
    done
    rm -rf --one-file-system "$work"
}

on() {
    local name=$1 init
    shift
    init=$(pgrep -P "${leader[$name]}" | head -1)
    [ -n "$init" ] || return 1
    nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

until_true() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    die "not within 30 s: $*"
}

# ---- what is on one ----

# Every file with type, mode, owner, target and content; the books of dpkg but those that change with each call; users;
# and what the kernel was told: links, addresses, routes, rules, nftables, sysctls.
everything() {
    local name=$1 changing='-path /proc -o -path /sys -o -path /dev -o -path /packages -o -path /manager -o -path /var/log/dpkg.log'
    # systemctl writes it at each call.
    changing+=' -o -path /run/systemd/systemd-units-load'
    # The copies that dpkg and shadow keep of what was before.
    changing+=' -o -path /etc/group- -o -path /etc/gshadow- -o -path /var/lib/dpkg/status -o -path /var/lib/dpkg/status-old -o -path /var/lib/dpkg/diversions-old'
    # A system that runs writes by itself.
    [ "$boots" = no ] || changing+=' -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/lib/systemd'
    # shellcheck disable=SC2016
    on "$name" sh -ec '
        find / \( $1 \) -prune -o -printf "%p %y %m %U:%G %l\n"
        find / \( $1 \) -prune -o -type f -print0 | xargs -0 sha256sum | sed "s/\(.*\)  \(.*\)/\2 holds \1/"
        dpkg-query -W -f "package \${Package} \${Version} \${Status}\n"
        ip -o link | sed "s/^[0-9]*: \([^ ]*\) .*/link \1/"
        ip -o address | sed "s/^[0-9]*: \([^ ]*\) *\([^ ]*\) \([^ ]*\) .*/address \1 \3/"
        for family in -4 -6; do
            ip $family rule | sed "s/^/rule $family /"
            ip $family route show table all | sed "s/^/route $family /"
        done
        nft list ruleset | sed "s/^/nft /"
        find /proc/sys/net -path /proc/sys/net/netfilter -prune -o -type f -perm -400 -print | while read -r key; do
            printf "%s %s\n" "$key" "$(cat "$key" 2>/dev/null | tr "\n\t" "  ")"
        done
    ' sh "$changing" | sort
}

# What is there now and was not, and the other way round.
difference() {
    everything "$1" | diff "$2" - | grep '^[<>]' || true
}
