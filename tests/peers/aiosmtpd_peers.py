"""SMTP servers on aiosmtpd that misbehave as they are told: `aiosmtpd_peers.py SPEC`.

SPEC is a JSON file, `{"folder": PATH, "peers": [PEER, ...]}`. A PEER has

  name, host, port   where it listens, and the folder below `folder` that its mail and its log go to
  lacks              extensions that it does not offer, such as "8BITMIME" or "SMTPUTF8"
  offers             lines that its EHLO reply has besides, such as "PIPELINING"
  tls                {"certificate": PATH, "key": PATH}: offers STARTTLS
  broken_tls         "version" (speaks only what nobody speaks any more), "junk" or "close" after its 220 to STARTTLS
  login              [NAME, PASSWORD]: takes mail after AUTH only
  junk               text that it says instead of SMTP, and closes
  rules              what it does instead of its duty, until its folder has a file `healed`, each a map with
                       at     connect, ehlo, helo, mail, rcpt, data, body, dot, rset or starttls
                       match  only when the command holds this text
                       times  only so often
                       stays  also when the file `healed` is there
                       delay  seconds that it waits first
                       reply  what it says, lines joined by CRLF; without it, it goes on as a good server does
                       then   "close" or "reset" (a TCP reset) when it has said that

Of each message that it takes to the final dot it writes N.eml and N.json; `answered` in the latter tells whether it
said 250 to it. commands.log has a line for each command.
"""

import asyncio
import json
import os
import socket
import ssl
import struct
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

warnings.simplefilter("ignore")


class Rules:
    """The rules of one peer, over all its connections; once its folder has a file `healed`, those that stay."""

    def __init__(self, rules, folder):
        self.healed = os.path.join(folder, "healed")
        self.rules = [dict(rule, left=rule.get("times")) for rule in rules]

    def find(self, at, text=""):
        healed = os.path.exists(self.healed)
        for rule in self.rules:
            if healed and not rule.get("stays"):
                continue
            if rule["at"] != at or rule.get("match", "") not in text or rule["left"] == 0:
                continue
            if rule["left"] is not None:
                rule["left"] -= 1
            return rule
        return None


class Mailbox:
    """Where one peer keeps what it took."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        os.makedirs(folder, exist_ok=True)

    def log(self, line):
        with open(os.path.join(self.folder, "commands.log"), "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(line + "\n")

    def keep(self, content, facts):
        self.count += 1
        stem = os.path.join(self.folder, f"{self.count:05}")
        with open(stem + ".eml", "wb") as file:
            file.write(content)
        with open(stem + ".tmp", "w", encoding="utf-8") as file:
            json.dump(facts, file)
        os.rename(stem + ".tmp", stem + ".json")


class Peer(SMTP):
    """One connection."""

    def __init__(self, spec, rules, mailbox):
        self.spec, self.rules, self.mailbox = spec, rules, mailbox
        login = spec.get("login")
        super().__init__(
            self,
            hostname=spec["name"] + ".peer.test",
            enable_SMTPUTF8="SMTPUTF8" not in spec.get("lacks", []),
            tls_context=context(spec),
            auth_required=bool(login),
            authenticator=lambda *words: AuthResult(success=login == self.words(words[-1]), handled=False),
            timeout=60,
        )

    @staticmethod
    def words(data):
        return [data.login.decode(), data.password.decode()]

    async def obey(self, at, text=""):
        """Does what a rule says; whether the server goes on as a good one."""
        self.mailbox.log(f"{at} {text}".strip())
        rule = self.rules.find(at, text)
        if rule is None:
            return True
        return await self.do(rule)

    async def do(self, rule):
        if rule.get("delay"):
            await asyncio.sleep(rule["delay"])
        if "reply" in rule:
            self._writer.write(rule["reply"].encode() + b"\r\n")
            await self._writer.drain()
        end = rule.get("then")
        if end:
            self.hang_up(end)
            await asyncio.sleep(3600)
        return "reply" not in rule

    def hang_up(self, how):
        if how == "reset":
            option = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self.transport.abort()
        else:
            self.transport.close()

    async def _handle_client(self):
        if await self.obey("connect"):
            await super()._handle_client()

    async def smtp_EHLO(self, hostname):
        if await self.obey("ehlo", hostname or ""):
            await super().smtp_EHLO(hostname)
        else:
            self.session.host_name = hostname

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        lacks = self.spec.get("lacks", [])
        kept = [line for line in responses if line[4:].split(" ")[0] not in lacks]
        extra = ["250-" + line for line in self.spec.get("offers", [])]
        if "broken_tls" in self.spec:
            extra.append("250-STARTTLS")
        lines = kept[:1] + extra + kept[1:]
        return lines[:-1] + ["250 " + lines[-1][4:]]

    async def smtp_HELO(self, hostname):
        if await self.obey("helo", hostname or ""):
            await super().smtp_HELO(hostname)

    async def smtp_STARTTLS(self, arg):
        if not await self.obey("starttls"):
            return
        broken = self.spec.get("broken_tls")
        if broken in ("junk", "close"):
            await self.push("220 Go ahead")
            if broken == "junk":
                self._writer.write(b"This is not TLS at all.\r\n" * 20)
                await self._writer.drain()
                await asyncio.sleep(0.5)
            self.transport.close()
        else:
            await super().smtp_STARTTLS(arg)

    async def smtp_MAIL(self, arg):
        if await self.obey("mail", arg or ""):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg):
        if await self.obey("rcpt", arg or ""):
            await super().smtp_RCPT(arg)

    async def smtp_RSET(self, arg):
        if await self.obey("rset"):
            await super().smtp_RSET(arg)

    async def smtp_DATA(self, arg):
        if not await self.obey("data"):
            return
        rule = self.rules.find("body")
        if rule is not None:
            await self.push("354 Go on")
            await self._reader.read(100)
            await self.do(rule)
            return
        await super().smtp_DATA(arg)

    async def handle_DATA(self, server, session, envelope):
        content = bytes(envelope.original_content)
        rule = self.rules.find("dot")
        self.mailbox.log("dot")
        facts = {
            "mail_from": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "options": envelope.mail_options,
            "tls": session.ssl is not None,
            "login": bool(session.authenticated),
            "answered": rule is None or not (rule.get("reply") or rule.get("then")),
        }
        if rule is None:
            self.mailbox.keep(content, facts)
            return "250 2.0.0 Ok"
        if rule.get("delay") and facts["answered"]:
            await asyncio.sleep(rule["delay"])
            self.mailbox.keep(content, facts)
            return "250 2.0.0 Ok, at last"
        facts["answered"] = rule.get("reply", "").startswith("2")
        self.mailbox.keep(content, facts)
        reply, end = rule.get("reply"), rule.get("then")
        if reply is None or end:
            await self.do(rule)
        if rule.get("delay"):
            await asyncio.sleep(rule["delay"])
        return reply


def context(spec):
    files = spec.get("tls")
    if not files:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files["certificate"], files["key"])
    if spec.get("broken_tls") == "version":
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = ssl.TLSVersion.TLSv1_1
    return made


async def serve_junk(spec):
    async def talk(reader, writer):
        writer.write(spec["junk"].encode("latin-1"))
        await writer.drain()
        writer.close()

    await asyncio.start_server(talk, spec["host"], spec["port"])


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    loop = asyncio.get_running_loop()
    for peer in spec["peers"]:
        own = os.path.join(spec["folder"], peer["name"])
        mailbox, rules = Mailbox(own), Rules(peer.get("rules", []), own)
        if "junk" in peer:
            await serve_junk(peer)
            continue
        make = lambda peer=peer, rules=rules, mailbox=mailbox: Peer(peer, rules, mailbox)
        await loop.create_server(make, peer["host"], peer["port"], backlog=512)
    print("aiosmtpd listens", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
