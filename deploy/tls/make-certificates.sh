#!/bin/sh
# make-certificates.sh FOLDER HOST…: authorities and certificates for a cluster and its clients.
#
# HOST…: the names and addresses under which clients reach the proxies.
# Called again, it renews the certificates; authorities and keys stay. Needs OpenSSL 1.1.1 or newer.
set -eu
umask 077
[ $# -ge 2 ] || { echo "usage: $0 FOLDER HOST…" >&2; exit 2; }
mkdir -p "$1" && cd "$1"
shift

key() { # NAME
    [ -f "$1-key.pem" ] ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1-key.pem"
}

signed() { # NAME DAYS SIGNER-OPTIONS…: the certificate of the request NAME.csr with NAME.ext
    name=$1 days=$2
    shift 2
    openssl x509 -req -in "$name.csr" -days "$days" -extfile "$name.ext" "$@" -out "$name.new"
    mv "$name.new" "$name.pem" # at once: whoever reads it meanwhile sees a whole one
    rm "$name.csr" "$name.ext"
}

request() { # NAME EXTENSION…
    key "$1"
    openssl req -new -key "$1-key.pem" -subj "/CN=mishards $1" -out "$1.csr"
    name=$1
    shift
    printf '%s\n' subjectKeyIdentifier=hash "$@" > "$name.ext"
}

authority() { # NAME: signs certificates of its own kind alone; made once
    [ -f "$1.pem" ] && return
    request "$1" basicConstraints=critical,CA:TRUE,pathlen:0 keyUsage=critical,keyCertSign,cRLSign
    signed "$1" 3650 -signkey "$1-key.pem"
}

certificate() { # NAME AUTHORITY USAGE [SUBJECT-ALTERNATIVE-NAMES]
    request "$1" basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
        authorityKeyIdentifier=keyid "extendedKeyUsage=$3" ${4:+"subjectAltName=$4"}
    signed "$1" 397 -CA "$2.pem" -CAkey "$2-key.pem" -set_serial "0x$(openssl rand -hex 16)"
}

names=
for host in "$@"; do
    case $host in
        *[!0-9.]*) [ "${host#*:}" = "$host" ] && kind=DNS || kind=IP ;;
        *) kind=IP ;;
    esac
    names=${names:+$names,}$kind:$host
done

authority cluster-ca
certificate node cluster-ca serverAuth,clientAuth
authority api-ca
certificate proxy api-ca serverAuth "$names"
certificate client api-ca clientAuth
