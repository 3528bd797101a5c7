"""What Python's `email` makes of the message on standard input, as JSON: `read_mail.py < MESSAGE`.

For a delivery status notification it has the fields of message/delivery-status, of the message and of each recipient,
with their names in lower case.
"""

import email
import email.policy
import json
import sys


def fields(block):
    return {name.lower(): " ".join(str(value).split()) for name, value in block.items()}


def text(part):
    content = part.get_content()
    return content if isinstance(content, str) else content.decode("utf-8", "replace")


def main():
    message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
    found = {
        "headers": fields(message),
        "type": message.get_content_type(),
        "report_type": message.get_param("report-type"),
        "parts": [part.get_content_type() for part in message.iter_parts()],
        "defects": [repr(defect) for part in message.walk() for defect in part.defects],
        "text": None,
        "status": None,
        "original": None,
    }
    for part in message.iter_parts():
        kind = part.get_content_type()
        if kind == "text/plain" and found["text"] is None:
            found["text"] = text(part)
        elif kind == "message/delivery-status":
            found["status"] = [fields(block) for block in part.get_payload()]
        elif kind == "message/global-delivery-status":
            found["status"] = status_blocks(part)
        elif kind in ("text/rfc822-headers", "message/global-headers"):
            found["original"] = fields(email.message_from_string(text(part), policy=email.policy.default))
        elif kind in ("message/rfc822", "message/global"):
            found["original"] = fields(inner(part))
    json.dump(found, sys.stdout)


def status_blocks(part):
    """Python's `email` takes no notice of RFC 6533's type; its blocks are read as those of RFC 3464."""
    payload = part.get_payload(decode=True) or b"".join(bytes(block) for block in part.get_payload())
    blocks = payload.decode("utf-8").replace("\r\n", "\n").strip().split("\n\n")
    return [fields(email.message_from_string(block + "\n\n", policy=email.policy.default)) for block in blocks]


def inner(part):
    payload = part.get_payload()
    if isinstance(payload, list):
        return payload[0]
    return email.message_from_bytes(part.get_payload(decode=True), policy=email.policy.default)


main()
