#!/usr/bin/env bash
# Installs what a clean Debian 12 with Rust lacks for building and running Sluice (--run) or for its tests (--test).
# Looks first, installs only what is missing, says what it does, and may be called as often as one likes.
set -euo pipefail

usage() {
    echo "usage: deploy/dev/setup.sh --run | --test" >&2
    exit 64
}

[ $# -eq 1 ] || usage
mode=$1

# Each line: a package, and the command, file (or pattern for one) or perl module that shows it is there.
# Building needs a C compiler (TLS and the allocator bring C) and its headers, nothing else.
needs=(
    "gcc cc"
    "libc6-dev /usr/include/stdio.h"
    "make make"
    "ca-certificates /etc/ssl/certs/ca-certificates.crt"
)
case $mode in
    --run) ;;
    --test)
        needs+=(
            "swaks swaks"
            "libnet-ssleay-perl Net::SSLeay"
            "curl curl"
            "python3 python3"
            "postfix /usr/sbin/smtp-sink"
            "knot /usr/sbin/knotd"
            "unbound /usr/sbin/unbound"
            "python3-aiosmtpd /usr/lib/python3/dist-packages/aiosmtpd/smtp.py"
            "python3-dkim /usr/lib/python3/dist-packages/dkim/__init__.py"
            "python3-nacl /usr/lib/python3/dist-packages/nacl/signing.py"
            "python3-dnspython /usr/lib/python3/dist-packages/dns/resolver.py"
            "openssl openssl"
            "sasl2-bin /usr/sbin/saslpasswd2"
            "libsasl2-modules /usr/lib/*/sasl2/libplain.so"
        )
        # For building toxiproxy; Debian's is enough.
        toxiproxy=${XDG_CACHE_HOME:-$HOME/.cache}/sluice/bin/toxiproxy-server
        [ -x "$toxiproxy" ] || needs+=("golang-go go")
        ;;
    *) usage ;;
esac

present() {
    case $1 in
        *'*'*) compgen -G "$1" >/dev/null ;;
        /*) [ -e "$1" ] ;;
        *::*) perl "-M$1" -e1 >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Go's own archive unpacks to a folder that is not in everybody's PATH.
[ ! -d /usr/local/go/bin ] || PATH=$PATH:/usr/local/go/bin

missing=()
for need in "${needs[@]}"; do
    read -r package proof <<<"$need"
    present "$proof" || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null 2>&1 || {
        echo "setup: missing: ${missing[*]}; this system has no apt-get, please install them by hand" >&2
        exit 69
    }
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            echo "setup: missing: ${missing[*]}; please install them as root" >&2
            exit 77
        }
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    # A package must not start a mail server here. Debian asks /usr/sbin/policy-rc.d before it starts a service; one
    # of ours says no while we install, unless the machine has one already.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends)
    "${install[@]}" update </dev/null
    "${install[@]}" -o Dpkg::Use-Pty=0 install "${missing[@]}" </dev/null
    if [ -d /run/systemd/system ]; then
        # The tests start instances of their own; Debian's services stay off after the next boot too.
        for pair in postfix:postfix knot:knot unbound:unbound sasl2-bin:saslauthd; do
            if [[ " ${missing[*]} " == *" ${pair%:*} "* ]]; then
                echo "setup: keeping Debian's own ${pair#*:} service off"
                "${as_root[@]}" systemctl disable --quiet "${pair#*:}" || true
            fi
        done
    fi
fi

# toxiproxy is in no Debian package. This is the newest version that the Go of Debian 12 builds.
toxiproxy_version=v2.8.0
if [ "$mode" = --test ] && [ ! -x "$toxiproxy" ]; then
    echo "setup: building toxiproxy $toxiproxy_version"
    mkdir -p "$(dirname "$toxiproxy")"
    built=$(mktemp -d)
    GOBIN=$built GOFLAGS='' CGO_ENABLED=0 go install "github.com/Shopify/toxiproxy/v2/cmd/server@$toxiproxy_version"
    mv "$built/server" "$toxiproxy"
    rmdir "$built"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is missing: install Rust from https://rustup.rs" >&2
    exit 69
fi
# rustup installs the toolchain that rust-toolchain.toml names when it is first used; say so, since it takes a while.
if command -v rustup >/dev/null 2>&1; then
    cd "$(dirname "$0")/../.."
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    if ! rustup toolchain list | grep -q "^$wanted"; then
        echo "setup: installing Rust $wanted"
        rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy --no-self-update
    fi
fi
