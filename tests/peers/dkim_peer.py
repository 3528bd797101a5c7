"""dkimpy at work: `dkim_peer.py verify ADDRESS FOLDER` and `dkim_peer.py sign KEY SELECTOR DOMAIN < MESSAGE`.

`verify` looks at every file in the folder, asks the DNS server at ADDRESS (host:port) for the keys, and prints a JSON
object: for each file a list of its signatures from the top, each with domain, selector, algorithm, the names in h=,
whether it has l=, and `pass` or what is wrong. `sign` prints the message with a signature by the RSA key in the PEM
file KEY before it, canonicalization simple/simple, so that whatever changes below it breaks it.
"""

import json
import os
import sys

import dkim
import dns.resolver


def answers(address):
    """A function by which dkimpy asks this server, and asks once for each name."""
    host, port = address.rsplit(":", 1)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [host], int(port)
    known = {}

    def ask(name, timeout=5):
        name = name.decode("ascii") if isinstance(name, bytes) else name
        if name not in known:
            try:
                found = resolver.resolve(name, "TXT", lifetime=timeout)
                texts = [b"".join(record.strings) for record in found]
                known[name] = texts[0] if len(texts) == 1 else None
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                known[name] = None
        return known[name]

    return ask


def signatures(message, ask):
    found = []
    parsed = dkim.DKIM(message, minkey=2048)
    count = sum(1 for name, _ in parsed.headers if name.lower() == b"dkim-signature")
    for index in range(count):
        one = dkim.DKIM(message, minkey=2048)
        try:
            result = "pass" if one.verify(index, dnsfunc=ask) else "the signature does not fit"
        except dkim.DKIMException as error:
            result = f"{type(error).__name__}: {error}"
        tags = {name.decode(): value.decode() for name, value in one.signature_fields.items()}
        found.append(
            {
                "domain": tags.get("d"),
                "selector": tags.get("s"),
                "algorithm": tags.get("a"),
                "covered": "".join(tags.get("h", "").split()).lower().split(":"),
                "has_length": "l" in tags,
                "result": result,
            }
        )
    return found


def verify(address, folder):
    ask = answers(address)
    told = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            message = file.read()
        try:
            told[name] = signatures(message, ask)
        except dkim.DKIMException as error:
            told[name] = [{"result": f"{type(error).__name__}: {error}"}]
    json.dump(told, sys.stdout)


def sign(key, selector, domain):
    message = sys.stdin.buffer.read()
    with open(key, "rb") as file:
        pem = file.read()
    kind = (dkim.Simple, dkim.Simple)
    field = dkim.DKIM(message).sign(selector.encode(), domain.encode(), pem, canonicalize=kind)
    sys.stdout.buffer.write(field + message)


def main():
    command, *arguments = sys.argv[1:]
    {"verify": verify, "sign": sign}[command](*arguments)


main()
